"""A watchdog's lock that the interpreter's end has left held by a stopped thread keeps nobody."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys, threading
from hermetic.watchdog import watchdog

# whoever has it will never let go
stopped = threading.Thread(target=watchdog._lock.acquire)
stopped.start()
stopped.join()

class Late:
    arm, write = watchdog.arm, staticmethod(os.write)
    finalizing = staticmethod(sys.is_finalizing)

    def __del__(self):
        self.arm(0.0, lambda: None).cancel()
        self.write(1, b"armed and cancelled, finalizing: %d\\n" % self.finalizing())

late = Late()
"""


def test_who_arms_an_alarm_while_the_interpreter_ends_does_not_wait() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "armed and cancelled, finalizing: 1\n"
