"""Sessions with a fault each, which the comparison has to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.orm.attributes import instance_state

from tests.differential.cases import errors, gets, identity, selects, writes
from tests.differential.compare import Case


class ForgetsHistory(Session):
    """After get, a change looks as if it had always been so."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        found = super().get(*args, **kwargs)
        if found is not None:
            state = instance_state(found)
            state._commit_all(state.dict, self.identity_map)
        return found


class LosesLoadEvent(Session):
    """What get loads is not told of."""

    def get(self, entity: Any, *args: Any, **kwargs: Any) -> Any:
        listeners = entity.__mapper__.class_manager.dispatch.load.listeners
        heard = list(listeners)
        listeners.clear()
        try:
            return super().get(entity, *args, **kwargs)
        finally:
            listeners.extend(heard)


class LeavesExpired(Session):
    """An attribute of what get loads is left to be loaded later."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        found = super().get(*args, **kwargs)
        if found is not None:
            self.expire(found, ["name"])
        return found


class KeepsAlive(Session):
    """The identity map is not weak."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        found = super().get(*args, **kwargs)
        self.info.setdefault("kept", []).append(found)
        return found


class LoadsTwice(Session):
    """A select makes a second object for a key that is there."""

    def scalars(self, *args: Any, **kwargs: Any) -> Any:
        self.expunge_all()
        return super().scalars(*args, **kwargs)


class FlushesTooMuch(Session):
    """get flushes also when the identity map has the answer."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        self.flush()
        return super().get(*args, **kwargs)


class FlushesTooLittle(Session):
    """A select does not see what was not flushed."""

    def scalars(self, *args: Any, **kwargs: Any) -> Any:
        with self.no_autoflush:
            return super().scalars(*args, **kwargs)


class OtherError(Session):
    """A constraint's error comes as another class."""

    def flush(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().flush(*args, **kwargs)
        except IntegrityError as error:
            raise ValueError(str(error)) from error


class StaysModified(Session):
    """What was flushed is taken for changed."""

    def flush(self, *args: Any, **kwargs: Any) -> None:
        changed = [thing for thing in self.dirty if self.is_modified(thing)]
        super().flush(*args, **kwargs)
        for thing in changed:
            state = instance_state(thing)
            state._modified_event(state.dict, None, None)


class LosesARow(Session):
    """The last new object of several is not written."""

    def add_all(self, instances: Any) -> None:
        super().add_all(list(instances)[:-1])


@dataclass(frozen=True)
class Fault:
    session: type[Session]
    case: Case
    # where it shows
    shows: str
    group: str = "silent"


FAULTS = (
    Fault(ForgetsHistory, gets.get_flushes_only_when_it_asks_the_server, "history"),
    Fault(LosesLoadEvent, gets.get_what_is_there, "event load", "instance"),
    Fault(LeavesExpired, gets.get_what_is_there, "expired_attributes"),
    Fault(KeepsAlive, gets.get_of_what_nobody_kept, "keys"),
    Fault(LoadsTwice, selects.select_does_not_overwrite_what_is_loaded, "name"),
    Fault(FlushesTooMuch, gets.get_flushes_only_when_it_asks_the_server, "dirty"),
    Fault(FlushesTooLittle, selects.select_of_what_is_changed_and_not_flushed, "note"),
    Fault(OtherError, errors.a_unique_value_twice, "IntegrityError"),
    Fault(StaysModified, writes.change_one_attribute, "modified"),
    Fault(LosesARow, writes.add_many, "rows"),
    Fault(KeepsAlive, identity.nobody_keeps_what_is_clean, "keys"),
)


def factory(session: type[Session]) -> Callable[..., Any]:
    """A sessionmaker of sessions with a fault."""

    def make(bind: Any, **options: Any) -> Any:
        return sessionmaker(bind, class_=session, **options)

    return make
