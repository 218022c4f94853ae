"""Writes which functions of SQLAlchemy the fast paths stand in for, with digests of their sources.

    python -m tools.stood_in_for

To be run when a release was read, which is then entered in ``hermetic.fast.unread.READ``. The same
works are done with the fast paths and without, in processes of their own: what is called less often
with them is what they stand in for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import sqlalchemy

from hermetic.fast.unread import digests_of

_ROOT: Final = Path(__file__).parents[1]
_FILE: Final = _ROOT / "src" / "hermetic" / "fast" / "as_read.py"
# what makes statements and texts of them is asked for more seldom, and does the same
_PARTS: Final = ("connectors/", "engine/", "event/", "ext/asyncio/", "orm/", "pool/")
_HEAD: Final = '''"""What the fast paths stand in for, as SQLAlchemy {version} has it. Generated.

python -m tools.stood_in_for
"""

from __future__ import annotations

DIGESTS: dict[str, dict[str, str]] = {{
'''


def calls(*, fast: bool) -> Counter[str]:
    """How often each of SQLAlchemy's functions is called by the works."""
    env = os.environ | {"HERMETIC_DISABLE_FAST": "" if fast else "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tools.stood_in_for_works", folder]
        done = subprocess.run(command, cwd=_ROOT, env=env, check=True, capture_output=True)
    return Counter(json.loads(done.stdout))


def stood_in_for() -> dict[str, list[str]]:
    fast, slow = calls(fast=True), calls(fast=False)
    found: dict[str, list[str]] = {}
    for place in sorted(slow):
        file, name = place.split()
        if fast[place] < slow[place] and file.startswith(_PARTS):
            found.setdefault(file, []).append(name)
    return found


def main() -> None:
    lines = [_HEAD.format(version=sqlalchemy.__version__)]
    for file, names in stood_in_for().items():
        lines.append(f'    "{file}": {{\n')
        lines += [
            f'        "{name}": "{digest}",\n' for name, digest in digests_of(file, names).items()
        ]
        lines.append("    },\n")
    _FILE.write_text("".join([*lines, "}\n"]), encoding="utf-8")


if __name__ == "__main__":
    main()
