"""Watching: what scopes did, and what should not be, found while it happens."""
