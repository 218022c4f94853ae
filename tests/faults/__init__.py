"""The classification of what servers and drivers report."""
