"""Signs that servers of more than one family show."""

from __future__ import annotations

from collections.abc import Iterator

from .about import About
from .checks import Sign, option

_SKEW_SECONDS = 30.0


def closes_idle(about: About, name: str, seconds: float) -> Iterator[Sign]:
    """A server that closes connections before the pool does.

    :param name: the setting.
    :param seconds: 0 for never.
    """
    options = about.options
    kept = min(options.pool_idle or options.pool_recycle, options.pool_recycle)
    if 0 < seconds < kept and (options.keepalive is None or options.keepalive >= seconds):
        told = f"{name} is {seconds:g} s, and the pool keeps idle connections for {kept:g} s"
        yield Sign(told, option("pool_idle", max(1.0, seconds / 2)))


def skewed(skew: float | None) -> Iterator[Sign]:
    """A clock that is seconds ahead of this machine's, or behind."""
    if skew is not None and abs(skew) > _SKEW_SECONDS:
        side = "ahead" if skew > 0 else "behind"
        yield Sign(f"the server's clock is {abs(skew):.0f} s {side}", "let both be set by NTP")
