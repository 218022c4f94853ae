"""The clock that deadlines and waits are measured by: the real one, also where a test froze time.

Libraries that freeze time put a function of theirs in the place of ``time.monotonic`` wherever they
find it, in modules that are not compiled. A server and a driver go on by the real one.
"""

from __future__ import annotations

import time
from functools import partial

# objects of their own: what they look for is the function itself
monotonic = partial(time.monotonic)
monotonic_ns = partial(time.monotonic_ns)
