"""Whether the last run of the tests failed in so few that they are worth a run alone.

    python -m tools.few_failed

Fourteen thousand tests against servers that start, stop, freeze and are killed meet a race in one
of them now and then, on a machine that others load. Such a test is tried again by itself, once,
and named: what fails alone has failed. More than a few are no race, and end the run as they
stand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

FEW: Final = 3
_NOTED: Final = Path(".pytest_cache/v/cache/lastfailed")


def main(noted: Path = _NOTED) -> int:
    """Name them; 0 where there are some and they are few."""
    if not noted.exists():
        sys.stderr.write("no test has failed: whatever ended the run was not one of them\n")
        return 1
    failed = list(json.loads(noted.read_text()))
    if not 0 < len(failed) <= FEW:
        sys.stderr.write(f"{len(failed)} tests have failed: see above\n")
        return 1
    sys.stdout.write("RACES? These failed above, and are tried again alone; find out why:\n")
    sys.stdout.writelines(f"  {name}\n" for name in failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
