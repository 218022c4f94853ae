"""Compiled fast paths, each with itself, uncompiled, as its twin."""
