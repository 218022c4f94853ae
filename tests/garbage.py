"""What stays until the end of a run is kept from the collector, which many tests have run."""

from __future__ import annotations

import gc


def spare_what_stays() -> None:
    """A million objects of pytest's own, and of the modules: half a second for each collection."""
    gc.collect()
    gc.freeze()
