"""Errors: their tree, what they carry and say, and that they survive a pickle."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import exc as sa_exc
from sqlalchemy.orm import exc as orm_exc

import hermetic
from hermetic import blending, errors, row_errors
from hermetic.blending import FAULT_CLASSES, fault_error
from hermetic.errors import (
    FaultError,
    HermeticError,
    Outcome,
    ScopeRef,
)
from hermetic.faults import Fault, FaultKind, Rerun, Transaction
from tests.models import User
from tests.worlds import World

SCOPE = ScopeRef("transfer", 7, "bank.py:12 in main")
FAULT = Fault(FaultKind.UNIQUE, "23505", Rerun.NEVER, Transaction.DOOMED, constraint="users_key")

CLASSES: dict[str, type[HermeticError]] = {
    name: value
    for name, value in {**vars(errors), **vars(row_errors)}.items()
    if inspect.isclass(value) and issubclass(value, HermeticError)
}

POOL = {"pool": "app writer", "limit": 3, "holders": ["thread 'a' for 2 s"], "waiting": 4}

# How to make one of each that wants more than a message.
DATA: dict[str, dict[str, Any]] = {
    "InvalidOption": {
        "option": "pool_size",
        "value": 0,
        "problem": "must be 1 or more",
        "place": "Database()",
        "hint": "try 1",
    },
    "MissingDriver": {"extra": "mysql"},
    "InvalidRow": {"row": 3, "field": "username"},
    "ForeignOwner": {"owner": "thread 'a'", "user": "thread 'b'"},
    "ConcurrentUse": {"owner": "thread 'a'", "user": "thread 'b'"},
    "ForkedScope": {"owner": "thread 'a'", "user": "thread 'b'"},
    "ReadOnlyScope": {"subject": "the new object User"},
    "LostByPooler": {"statement": "LISTEN news"},
    "UnknownTenant": {"tenant": "eve"},
    "ForeignTenant": {"tenant": "ann", "owner": "bob"},
    "UnprotectedTenants": {"role": "postgres"},
    "DetachedAccess": {"attribute": "orders"},
    "DeadlineExceeded": {"timeout": 2.5},
    "PoolError": POOL,
    "PoolTimeout": POOL,
    "PoolOverloaded": POOL,
    "PoolSelfDeadlock": POOL,
}
WITHOUT_SCOPE = ("InvalidOption", "MissingDriver", "UnprotectedTenants")


def make(name: str) -> HermeticError:
    given: dict[str, Any] = dict(DATA.get(name, {}))
    if name not in WITHOUT_SCOPE:
        given |= {"scope": SCOPE, "hint": "Do it otherwise."}
    if name != "InvalidOption":
        given["message"] = "It did not work."
    error = CLASSES[name](**given)
    if isinstance(error, FaultError):
        error.fault, error.outcome = FAULT, Outcome.NOT_COMMITTED
    return error


# ---------------------------------------------------------------- the tree


def drawn() -> list[tuple[str, str]]:
    """Class and base, as the module's docstring draws them."""
    assert errors.__doc__ is not None
    found: list[tuple[str, str]] = []
    above: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"    ((?:│   |    |├── |└── )*)(\w+|…)", line)
        if match is None or line.strip() == "::":
            continue
        depth = len(match[1]) // 4
        name = match[2]
        del above[depth:]
        if name != "…":
            found.append((name, above[-1] if above else "Exception"))
        above.append(name)
    return found


def test_the_tree_is_as_its_drawing_shows_it() -> None:
    assert len(drawn()) > 20

    for name, base in drawn():
        assert CLASSES[name].__bases__[0].__name__ == base, name


def test_every_class_is_drawn_or_belongs_to_the_faults() -> None:
    names = {name for name, _ in drawn()}

    missing = {
        name
        for name, cls in CLASSES.items()
        if name not in names and not issubclass(cls, FaultError)
    }

    assert missing == set()


def test_every_class_is_public_and_described() -> None:
    for name, cls in CLASSES.items():
        assert getattr(hermetic, name) is cls
        assert name in hermetic.__all__
        assert cls.__doc__


def test_every_public_name_is_there_once() -> None:
    assert len(hermetic.__all__) == len(set(hermetic.__all__))
    assert all(hasattr(hermetic, name) for name in hermetic.__all__)


@pytest.mark.parametrize(
    ("name", "also"),
    [
        ("ConfigurationError", ValueError),
        ("InvalidOption", ValueError),
        ("InvalidURL", ValueError),
        ("MissingDriver", ImportError),
        ("DetachedAccess", orm_exc.DetachedInstanceError),
        ("DeadlineExceeded", TimeoutError),
        ("PoolTimeout", TimeoutError),
    ],
)
def test_an_error_is_also_what_callers_already_catch(name: str, also: type[Exception]) -> None:
    assert issubclass(CLASSES[name], also)


def test_every_kind_of_fault_has_one_class() -> None:
    assert set(FAULT_CLASSES) == set(FaultKind)
    assert len(set(FAULT_CLASSES.values())) == len(FaultKind)
    assert FAULT_CLASSES[FaultKind.OTHER] is FaultError
    for kind, cls in FAULT_CLASSES.items():
        assert cls.kind is kind
    for kind in (FaultKind.UNIQUE, FaultKind.FOREIGN_KEY, FaultKind.NOT_NULL, FaultKind.CHECK):
        assert issubclass(FAULT_CLASSES[kind], FAULT_CLASSES[FaultKind.INTEGRITY])


# ---------------------------------------------------------------- what an error says


@pytest.mark.parametrize("name", sorted(set(CLASSES) - set(WITHOUT_SCOPE)))
def test_an_error_says_what_happened_in_which_scope_and_what_to_do(name: str) -> None:
    error = make(name)

    said = str(error)

    assert said.startswith("It did not work.")
    assert "In scope 'transfer' (#7, opened at bank.py:12 in main)." in said
    assert "Do it otherwise." in said
    assert (error.message, error.scope, error.hint) == (
        "It did not work.",
        SCOPE,
        "Do it otherwise.",
    )


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_error_keeps_its_data_as_attributes(name: str) -> None:
    error = make(name)

    for attribute, value in DATA.get(name, {}).items():
        if attribute != "problem":
            kept = getattr(error, attribute)
            assert kept == (tuple(value) if isinstance(value, list) else value)


def test_an_error_without_a_scope_says_none() -> None:
    assert str(HermeticError("Plain.")) == "Plain."
    assert str(HermeticError("Plain.", hint="Advice.")) == "Plain. Advice."


def test_a_pool_error_lists_who_holds_the_connections() -> None:
    said = str(make("PoolTimeout"))

    assert said.endswith("\n  held by thread 'a' for 2 s")


def test_outcomes_are_set_where_they_are_certain() -> None:
    assert make("CommitUnknown").outcome is Outcome.UNKNOWN  # type: ignore[attr-defined]
    assert make("RolledBack").outcome is Outcome.NOT_COMMITTED  # type: ignore[attr-defined]
    assert len(Outcome) == 3


# ---------------------------------------------------------------- pickles and copies


def by_pickle(error: HermeticError) -> HermeticError:
    again: HermeticError = pickle.loads(pickle.dumps(error))
    return again


@pytest.mark.parametrize("through", [by_pickle, copy.copy, copy.deepcopy], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_error_survives_with_its_data(
    name: str, through: Callable[[HermeticError], HermeticError]
) -> None:
    error = make(name)
    error.add_note("outcome: not committed")

    again = through(error)

    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert again.args == error.args
    assert str(again) == str(error)
    assert again.__notes__[1:] == ["outcome: not committed"]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_fault_survives_every_pickle_protocol(protocol: int) -> None:
    error = blended()

    again = pickle.loads(pickle.dumps(error, protocol))

    assert type(again) is type(error)
    assert (again.fault, again.scope) == (FAULT, SCOPE)


async def test_a_fault_of_every_driver_survives_a_pickle(world: World) -> None:
    error: Any = None
    try:
        async with world.session() as session:
            session.add_all([User(id=1, username="ann"), User(id=2, username="ann")])
    except hermetic.UniqueViolation as raised:
        error = raised
    assert error is not None

    again = pickle.loads(pickle.dumps(error))

    assert isinstance(again, hermetic.UniqueViolation)
    assert isinstance(again, sa_exc.IntegrityError)
    assert (again.fault, again.scope, again.outcome) == (error.fault, error.scope, error.outcome)
    assert again.statement == error.statement
    assert str(again) == str(error)


# ---------------------------------------------------------------- both ours and SQLAlchemy's


def blended(
    fault: Fault = FAULT, *, scope: ScopeRef | None = SCOPE, hide_parameters: bool = True
) -> Any:
    original = sqlite3.IntegrityError("UNIQUE constraint failed: users.username")
    theirs = sa_exc.IntegrityError(
        "INSERT INTO users VALUES (?)",
        ("s3cr3t-canary",),
        original,
        hide_parameters=hide_parameters,
    )
    theirs.add_detail("first")
    return fault_error(theirs, fault, scope=scope)


def test_a_fault_is_caught_as_ours_and_as_sqlalchemys() -> None:
    error = blended()

    for caught in (
        hermetic.UniqueViolation,
        hermetic.IntegrityViolation,
        FaultError,
        HermeticError,
        sa_exc.IntegrityError,
        sa_exc.DBAPIError,
        sa_exc.SQLAlchemyError,
    ):
        assert isinstance(error, caught)
    assert type(error).__name__ == "UniqueViolation"
    assert type(error).__module__ == "hermetic.errors"


def test_a_fault_has_all_that_sqlalchemys_error_has() -> None:
    error = blended(hide_parameters=False)

    assert error.statement == "INSERT INTO users VALUES (?)"
    assert error.params == ("s3cr3t-canary",)
    assert isinstance(error.orig, sqlite3.IntegrityError)
    assert error.code == "gkpj"
    assert error.connection_invalidated is False
    assert error.detail[0] == "first"


def test_hidden_parameters_are_in_no_pickle_either() -> None:
    assert b"s3cr3t-canary" not in pickle.dumps(blended())


def test_a_fault_says_its_scope_and_hides_its_parameters() -> None:
    said = str(blended())

    assert "scope 'transfer' (#7, opened at bank.py:12 in main)" in said
    assert "UNIQUE constraint failed: users.username" in said
    assert "INSERT INTO users" in said
    assert "s3cr3t-canary" not in said


def test_a_fault_outside_any_scope_says_none() -> None:
    error = blended(scope=None)

    assert error.scope is None
    assert "scope" not in str(error)


def test_the_original_error_is_left_as_it_was() -> None:
    theirs = sa_exc.OperationalError("SELECT 1", None, sqlite3.OperationalError("locked"))
    before = (theirs.args, dict(vars(theirs)), list(theirs.detail))

    ours: Any = fault_error(theirs, FAULT, scope=SCOPE)
    ours.add_detail("more")

    assert (theirs.args, dict(vars(theirs)), list(theirs.detail)) == before


def test_classes_are_blended_once() -> None:
    assert type(blended()) is type(blended())
    assert type(blended(Fault(FaultKind.CHECK, "", Rerun.NEVER, Transaction.DOOMED))) is not type(
        blended()
    )


@pytest.mark.parametrize("kind", FaultKind)
def test_every_kind_blends_with_any_of_sqlalchemys_classes(kind: FaultKind) -> None:
    fault = Fault(kind, "1", Rerun.NEVER, Transaction.DOOMED)

    raised: list[sa_exc.StatementError] = [
        sa_exc.OperationalError("SELECT 1", None, ValueError("x")),
        sa_exc.InternalError("SELECT 1", None, ValueError("x")),
        sa_exc.StatementError("m", "SELECT 1", None, ValueError("x")),
    ]

    for theirs in raised:
        error = fault_error(theirs, fault)

        assert isinstance(error, FAULT_CLASSES[kind])
        assert isinstance(error, type(theirs))
        assert (error.kind, error.fault) == (kind, fault)
        assert type(pickle.loads(pickle.dumps(error))) is type(error)


def test_blended_classes_do_not_count_as_kinds() -> None:
    blended()

    assert blending._fault_classes(FaultError) == FAULT_CLASSES
