"""A cache of reads, shared between sessions and processes, and emptied by commits."""

from .away import CacheAway
from .options import Cache

__all__ = ["Cache", "CacheAway"]
