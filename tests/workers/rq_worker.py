"""A worker of RQ's that imports its jobs before it forks for each of them, as a program."""

from __future__ import annotations

from rq import Worker

from tests.workers import rq_program

if __name__ == "__main__":
    Worker(["default"], connection=rq_program.book).work()
