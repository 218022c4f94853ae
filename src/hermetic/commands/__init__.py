"""The commands, a file for each, as far as they need no more than that."""
