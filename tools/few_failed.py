"""The few tests that have just failed, run once more, alone; more than a few are not.

    python -m tools.few_failed

Fifteen thousand tests against servers that start, stop, freeze and are killed meet a race in one of
them now and then, on a machine that others load. Such a test is tried again by itself, once, and
named: what fails alone has failed. More than a few are no race, and end the run as they stand; so
does whatever kept tests from being run at all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

FEW: Final = 3
_NOTED: Final = Path(".pytest_cache/v/cache/lastfailed")
_REASONS: Final = Path(".pytest_cache/v/hermetic/reasons")


def failed(noted: Path = _NOTED) -> list[str]:
    """The tests that have failed, where they are few; otherwise none."""
    names: list[str] = list(json.loads(noted.read_text())) if noted.exists() else []
    # a file alone is one whose tests were not found
    return names if len(names) <= FEW and all("::" in name for name in names) else []


def told(names: list[str], noted: Path = _REASONS) -> str:
    """Each of them, and why it has failed as far as that was noted."""
    reasons: dict[str, str] = json.loads(noted.read_text()) if noted.exists() else {}
    return "".join(f"  {name}\n    {reasons.get(name, '?')}\n" for name in names)


def main() -> int:
    """Run them; 0 where all of them pass."""
    names = failed()
    if not names:
        sys.stderr.write("No few tests have failed: see above.\n")
        return 1
    races = f"RACES? These failed, and are tried again alone; find out why:\n{told(names)}"
    sys.stdout.write(races)
    sys.stdout.flush()
    code = subprocess.run([sys.executable, "-m", "pytest", "-v", *names], check=False).returncode
    # once more, because the end of what is printed is what is kept
    sys.stdout.write(races)
    return code


if __name__ == "__main__":
    sys.exit(main())
