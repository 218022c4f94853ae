"""Processes of one host that can be looked at: each has a socket in a folder of its user's."""
