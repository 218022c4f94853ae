"""Compiled fast paths, each with itself, uncompiled, as its twin."""

import contextlib

from .gone import import_or_stand_in

# Without greenlet SQLAlchemy says so in place of this import, once; the next one succeeds, and what
# needs greenlet asks for it when it is used.
with contextlib.suppress(ImportError):
    import sqlalchemy.ext.asyncio  # noqa: F401

for _name in ("private", "private_flush"):
    import_or_stand_in(f"{__name__}.{_name}")
