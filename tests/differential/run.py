"""One run of a case by one library: what the case does with it, and the record of what was seen."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.orm.attributes import instance_state

from tests.differential.contestants import Contestant
from tests.differential.describe import Describer, scrubbed
from tests.differential.ears import Ears

# said when a statement is compiled, which is not the same as when it is sent
_WHEN_COMPILED: Final = ("is marked as a member of the primary key", "has a cartesian product")


class Unwanted(Exception):
    """Raised by a case to have its scope rolled back."""


@dataclass
class Record:
    """What was seen, in order, under labels that say where."""

    seen: list[tuple[str, Any]] = field(default_factory=list)
    # where each rolled-back scope has to be looked at with more leniency: begin and end in `seen`
    rollbacks: list[tuple[int, int]] = field(default_factory=list)
    untouched: set[str] = field(default_factory=set)

    def add(self, label: str, value: Any) -> None:
        self.seen.append((label, value))


class Run:
    """What a case is given. Whatever it shows with ``note`` or keeps with ``keep`` is compared."""

    def __init__(self, contestant: Contestant, group: str) -> None:
        self.contestant = contestant
        self.record = Record()
        self.describer = Describer()
        self._ears = Ears(group, self.describer, self._hear)
        self._kept: list[Any] = []

    def _hear(self, name: str, *details: Any) -> None:
        self.record.add(f"event {name}", list(details))

    # ------------------------------------------------------------ sessions

    @contextmanager
    def scope(self, **options: Any) -> Iterator[Any]:
        """A unit of work: committed at its end, or rolled back by what leaves it."""
        begin = 0
        try:
            with ExitStack() as ears, self.contestant.scope(**options) as session:
                ears.enter_context(self._ears.on_session(session))
                try:
                    yield session
                finally:
                    self._look(session, "at the end")
                    self._note_untouched(session)
                    begin = len(self.record.seen)
        except BaseException:
            self._over(session)
            self.record.rollbacks.append((begin, begin))
            raise
        self._over(session)
        self._look(session, "after the scope")
        self.kept("after the scope")
        del session

    @contextmanager
    def session(self, **options: Any) -> Iterator[Any]:
        """A session that the case begins, commits and rolls back by hand."""
        with ExitStack() as ears, self.contestant.session(**options) as session:
            ears.enter_context(self._ears.on_session(session))
            yield session
            self._look(session, "at the end")
        self._over(session)
        self._look(session, "after the session")
        self.kept("after the session")

    def _over(self, session: Any) -> None:
        self.describer.over.add(getattr(session, "sync_session", session))

    def _note_untouched(self, session: Any) -> None:
        """Which objects the scope has only read; hermetic lets them out of the rollback."""
        touched: set[Any] = set()
        transaction = session.get_nested_transaction() or session.get_transaction()
        while transaction is not None:
            touched.update(transaction._dirty, transaction._new, transaction._deleted)
            transaction = transaction.parent
        self.record.untouched = {
            self.describer.names.of(thing)
            for thing in session.identity_map.values()
            if not instance_state(thing).modified and instance_state(thing) not in touched
        }

    @contextmanager
    def rolled_back(self, **options: Any) -> Iterator[Any]:
        """A scope that is left with an error at its end."""
        try:
            with self.scope(**options) as session:
                yield session
                raise Unwanted
        except Unwanted:
            self.end_of_rollback()

    def end_of_rollback(self) -> None:
        begin, _ = self.record.rollbacks[-1]
        self.kept("after the rollback")
        self.record.rollbacks[-1] = (begin, len(self.record.seen))

    def failing(self) -> Failing:
        """Something that may raise; what it raised is compared."""
        return Failing(self)

    # ------------------------------------------------------------ what is compared

    def note(self, *values: Any) -> None:
        self.record.add("note", [self._in_full(value) for value in values])

    def keep(self, thing: Any) -> Any:
        """Keep an object to the end; it is looked at now, and after every scope."""
        self._kept.append(thing)
        self.note(thing)
        return thing

    def kept(self, label: str) -> None:
        for thing in self._kept:
            self.record.add(label, self._in_full(thing))

    def _in_full(self, value: Any) -> Any:
        if hasattr(value, "_sa_instance_state"):
            return self.describer.state(value)
        if isinstance(value, list | tuple) and any(hasattr(v, "_sa_instance_state") for v in value):
            return [type(value).__name__, *map(self._in_full, value)]
        return self.describer.value(value)

    def look(self, session: Any) -> None:
        """Everything that there is to be seen of a session and what is in it."""
        self._look(session, "look")

    def _look(self, session: Any, label: str) -> None:
        self.record.add(label, self.describer.session(session))

    # ------------------------------------------------------------ the whole

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Around everything: listeners, warnings, garbage that is not collected by chance."""
        gc.freeze()  # what is older than the run need not be looked through
        gc.disable()
        try:
            with (
                warnings.catch_warnings(record=True) as heard,
                self._ears.on_models_and_engine(self.contestant.engine),
            ):
                warnings.simplefilter("always")
                yield
                self.kept("in the end")
            for warning in heard:
                if not any(words in str(warning.message) for words in _WHEN_COMPILED):
                    said = [warning.category.__name__, scrubbed(str(warning.message))]
                    self.record.add("warning", said)
            self.record.add("rows", self.contestant.ground.rows())
        finally:
            gc.enable()
            gc.unfreeze()


class Failing:
    """A block whose error is noted, and goes no further."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rollbacks = len(run.record.rollbacks)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        run = self._run
        run.record.add("raised", None if error is None else run.describer.error(error))
        if len(run.record.rollbacks) > self._rollbacks:
            run.end_of_rollback()
        # a mistake of the case's own is nothing to compare
        return isinstance(error, Exception) and not isinstance(error, NameError)
