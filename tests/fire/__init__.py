"""Faults by the thousand on real servers, and what must be true after them."""
