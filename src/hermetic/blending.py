"""What a driver has raised, as an error of hermetic's class for it and of SQLAlchemy's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exc as sa_exc

from .errors import FaultError, ScopeRef, rebuild
from .faults import Fault, FaultKind


def _fault_classes(base: type[FaultError]) -> dict[FaultKind, type[FaultError]]:
    found = {base.kind: base}
    for subclass in base.__subclasses__():
        if "_blended" not in subclass.__dict__:
            found.update(_fault_classes(subclass))
    return found


FAULT_CLASSES: dict[FaultKind, type[FaultError]] = _fault_classes(FaultError)

_blends: dict[tuple[type[FaultError], type[Exception]], type[Exception]] = {}


def _blend(fault_class: type[FaultError], sa_class: type[Exception]) -> type[Exception]:
    """The class that is both ours and SQLAlchemy's, made once."""
    blended = _blends.get((fault_class, sa_class))
    if blended is None:
        namespace = {
            "__doc__": fault_class.__doc__,
            "__module__": fault_class.__module__,
            "__str__": sa_class.__str__,
            "__reduce__": _reduce_blended,
            "_blended": (fault_class, sa_class),
        }
        blended = type(fault_class.__name__, (fault_class, sa_class), namespace)
        _blends[fault_class, sa_class] = blended
    return blended


def _reduce_blended(self: Any) -> tuple[Any, ...]:
    fault_class, sa_class = self._blended
    return _rebuild_blended, (fault_class, sa_class, self.args, self.__dict__)


def _rebuild_blended(
    fault_class: type[FaultError],
    sa_class: type[Exception],
    args: tuple[Any, ...],
    state: dict[str, Any],
) -> Exception:
    return rebuild(_blend(fault_class, sa_class), args, state)


_HINTS = {
    FaultKind.TLS: "To a server on another host a connection is made by TLS, and its certificate "
    "is verified. Give the file of the authority that signed it by tls='/path/to/ca.pem', or "
    "choose tls='require', which verifies nothing, or tls='off'"
}


def fault_error(
    error: sa_exc.StatementError, fault: Fault, *, scope: ScopeRef | None = None
) -> FaultError:
    """SQLAlchemy's error again, as an instance of the fault's class too."""
    blended = _blend(FAULT_CLASSES[fault.kind], type(error))
    copy = blended.__new__(blended)
    copy.args = error.args
    state = copy.__dict__
    state.update(error.__dict__)
    if "__notes__" in state:
        # somebody else's come after our own
        for note in state.pop("__notes__"):
            copy.add_note(note)
    if error.hide_parameters:
        # not in the text, and not in a pickle either
        state["params"] = None
    assert isinstance(copy, FaultError)
    copy.message = str(error.args[0]) if error.args else ""
    copy.hint = _HINTS.get(fault.kind, "")
    copy.fault = fault
    if copy.hint:
        copy.detail = [*error.detail, copy.hint]  # type: ignore[attr-defined]
    copy.scope = scope
    if scope is not None:
        copy.detail = [*copy.detail, f"in {scope}"]  # type: ignore[attr-defined]
    return copy
