"""Numbers and texts as a terminal shows them; no text is an order to it."""

from __future__ import annotations

import unicodedata

# also what turns the direction of writing round, or takes no room
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(text: object, longest: int = 2000) -> str:
    """A text in one line, with a dot for whatever a terminal would not show as it is."""
    # one look at each is enough where all are plain, as they mostly are
    words = " ".join(str(text)[:longest].split())
    if words.isascii() and words.isprintable():
        return words
    return "".join("·" if unicodedata.category(each) in _HIDDEN else each for each in words)


def seconds(value: float) -> str:
    """A length of time, in four or five places: ``850 µs``, ``12 ms``, ``3.4 s``, ``12m05``."""
    value = max(0.0, value)
    if value < 0.000_999_5:
        return f"{value * 1_000_000:.0f} µs"
    if value < 0.009_95:
        return f"{value * 1000:.1f} ms"
    if value < 0.999_5:
        return f"{value * 1000:.0f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    if value < 99.5:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02}" if hours else f"{minutes}m{rest:02}"
    return f"{hours // 24}d{hours % 24:02}"


def count(value: float) -> str:
    """A number in at most five places."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 10 * size:
            return f"{value / size:.0f}{unit}"
    return f"{value:.0f}"


def bar(part: float, whole: float, width: int) -> str:
    """How much of something is taken."""
    share = min(1.0, part / whole) if whole else 0.0
    full = round(share * width)
    if share and not full:
        full = 1
    return "█" * full + "░" * (width - full)


def place(text: str, width: int) -> str:
    """``/long/way/file.py:12 in function`` within a width: what is in front goes first."""
    text = clean(text)
    if len(text) <= width:
        return text
    name = text.rpartition("/")[2]
    return f"…/{name}" if name != text and len(name) + 2 <= width else name
