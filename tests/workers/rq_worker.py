"""A worker of RQ's that imports its jobs before it forks for each of them, as a program.

Called with the name of another class of workers, it is one, and works on a queue of that name.
"""

from __future__ import annotations

import sys

from rq.worker import HerokuWorker, SimpleWorker, SpawnWorker, Worker

from tests.workers import rq_program

KINDS = {each.__name__: each for each in (HerokuWorker, SimpleWorker, SpawnWorker)}
# seconds
HerokuWorker.imminent_shutdown_delay = 0

if __name__ == "__main__":
    [name] = sys.argv[1:] or ["default"]
    KINDS.get(name, Worker)([name], connection=rq_program.book).work()
