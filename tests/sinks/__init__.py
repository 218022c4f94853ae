"""Sinks: what they are told, and what they make of it."""
