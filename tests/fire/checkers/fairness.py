"""Whether equal clients of one pool were served equally."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from tests.fire.checkers.violations import Violation


def check_fairness(
    served: Mapping[str, int],
    waits: Sequence[float],
    *,
    ratio: float = 2.0,
    late: float = 3.0,
) -> list[Violation]:
    """Equal clients, who all want as much as they can get.

    :param served: how often each got what it waited for.
    :param waits: every wait, in seconds.
    :param ratio: how much more often the luckiest may be served than the unluckiest.
    :param late: how many times the mean the 99th of a hundred waits may take.
    """
    found = []
    least, most = min(served.values()), max(served.values())
    if not least or most / least > ratio:
        found.append(Violation("unfair", f"served {least} to {most} times: {dict(served)}"))
    ordered = sorted(waits)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    mean = statistics.fmean(ordered)
    if p99 > late * mean:
        told = f"p99 of the waits is {p99:.4f} s, their mean {mean:.4f} s"
        found.append(Violation("unfair", told))
    return found
