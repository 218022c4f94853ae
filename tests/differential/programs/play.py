"""A program as a case: errors are noted, and end what SQLAlchemy says they have ended."""

from __future__ import annotations

from sqlalchemy.exc import StatementError

from tests.differential.programs.program import Part, Program, Step
from tests.differential.programs.verbs import Play
from tests.differential.run import Run, Unwanted


def play(program: Program, run: Run) -> None:
    playing = Play(run, program.models)
    for number, part in enumerate(program.parts, 1):
        unwanted = program.unwanted and number == len(program.parts)
        before = len(run.record.rollbacks)
        with run.failing():
            _scope(playing, part, unwanted=unwanted)
        if len(run.record.rollbacks) > before:
            return
        playing.let_go()
        for step in part.after:
            _step(playing, step)


def _scope(playing: Play, part: Part, *, unwanted: bool) -> None:
    playing.savepoints = []
    with playing.run.scope() as session:
        playing.session = session
        for step in part.inside:
            error = _step(playing, step)
            if error is not None:
                _recover(playing, error)
        while playing.savepoints:
            playing.savepoints[-1].commit()
            playing.savepoints.pop()
        if unwanted:
            raise Unwanted


def _step(playing: Play, step: Step) -> Exception | None:
    try:
        playing.do(step.verb, step.a, step.b, step.c)
    except Exception as error:
        playing.run.record.add("raised", playing.run.describer.error(error))
        return error
    return None


def _recover(playing: Play, error: Exception) -> None:
    """Go back to the innermost savepoint, or give up, where the transaction is lost."""
    session = playing.session
    if session.is_active and not isinstance(error, StatementError):
        return
    if not playing.savepoints:
        raise error
    playing.savepoints.pop().rollback()
