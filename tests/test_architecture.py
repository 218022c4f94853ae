"""The package has the shape that was decided for it, and each rule is able to say otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import architecture
from tests.architecture import RULES, Rule, Tree

_SOURCE = Path(__file__).parents[1] / "src" / "hermetic"


@pytest.fixture(scope="module")
def package() -> Tree:
    return Tree.read(_SOURCE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule: Rule, package: Tree) -> None:
    assert rule(package) == []


def test_the_package_is_found_and_measured(
    package: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "hermetic.errors" in package

    with capsys.disabled():
        print(f"\n{architecture.summary(package)}")  # noqa: T201 - the figures are for the reader


LONG_FUNCTION = "def long():\n" + "    work()\n" * 81
JUST_SHORT_ENOUGH = "def short():\n    '''" + "\n" * 20 + "'''\n" + "    work()\n" * 80

VIOLATIONS = [
    (architecture.every_module_has_a_place, {"hermetic.novelty": ""}, "novelty: in no layer"),
    (architecture.every_module_has_a_place, {"hermetic.novelty.part": ""}, "add it to LAYERS"),
    (
        architecture.imports_go_down,
        {"hermetic.errors": "from .scope import Scope"},
        "hermetic.errors:1: layer 0 imports hermetic.scope, which is in layer 4",
    ),
    (
        architecture.imports_go_down,
        {"hermetic.errors": "from . import scope", "hermetic.scope": ""},
        "imports hermetic.scope",
    ),
    (
        architecture.imports_go_down,
        {"hermetic.dialects.sqlite": "from ..registry import Registry"},
        "layer 1 imports hermetic.registry",
    ),
    (
        architecture.imports_go_down,
        {"hermetic.dialects": "from ..registry import Registry"},
        "layer 1 imports hermetic.registry",
    ),
    (
        architecture.imports_go_down,
        {"hermetic.errors": "def late():\n    from hermetic.scope import Scope"},
        "hermetic.errors:2: layer 0 imports hermetic.scope",
    ),
    (
        architecture.imports_go_down,
        {"hermetic.database": "if DEBUG:\n    from .inspector import show"},
        "layer 4 imports hermetic.inspector",
    ),
    (
        architecture.imports_go_down,
        {"hermetic": "from .sinks.prometheus import Sink"},
        "imports hermetic.sinks.prometheus",
    ),
    (
        architecture.nothing_imports_the_package_itself,
        {"hermetic.scope": "import hermetic"},
        "hermetic.scope:1: import hermetic from inside",
    ),
    (
        architecture.nothing_imports_the_package_itself,
        {"hermetic.cli": "import hermetic.errors"},
        "import hermetic.errors from inside",
    ),
    (
        architecture.nothing_imports_the_package_itself,
        {"hermetic.group": "from . import Database"},
        "takes Database from the package",
    ),
    (
        architecture.no_import_cycles,
        {
            "hermetic.pool": "from .engine import Engine",
            "hermetic.engine": "from .registry import Registry",
            "hermetic.registry": "from . import pool",
        },
        "hermetic.engine → hermetic.registry → hermetic.pool → hermetic.engine",
    ),
    (
        architecture.no_import_cycles,
        {"hermetic.pool": "from .pool import Pool"},
        "hermetic.pool → hermetic.pool",
    ),
    (
        architecture.the_package_only_reexports,
        {"hermetic": "def open(): ..."},
        "more than a re-export: def open",
    ),
    (
        architecture.the_package_only_reexports,
        {"hermetic": "from .database import Database\nsetup()"},
        "hermetic:2: more than a re-export: setup()",
    ),
    (
        architecture.the_core_starts_without_optional_libraries,
        {"hermetic.frames": "import pandas as pd"},
        "hermetic.frames:1: imports pandas, which is optional",
    ),
    (
        architecture.the_core_starts_without_optional_libraries,
        {"hermetic.engine": "try:\n    import psycopg\nexcept ImportError:\n    psycopg = None"},
        "imports psycopg",
    ),
    (
        architecture.the_core_starts_without_optional_libraries,
        {"hermetic.fast.loading": "import cython"},
        "imports cython",
    ),
    (
        architecture.lower_layers_use_only_the_facts_of_sqlalchemy,
        {"hermetic.options": "from sqlalchemy import create_engine"},
        "layer 0 imports sqlalchemy.create_engine",
    ),
    (
        architecture.lower_layers_use_only_the_facts_of_sqlalchemy,
        {"hermetic.boundary": "def late():\n    import sqlalchemy.orm"},
        "hermetic.boundary:2: layer 2 imports sqlalchemy.orm",
    ),
    (
        architecture.decisions_do_not_wait,
        {"hermetic.retry": "from time import monotonic"},
        "a decision imports time",
    ),
    (
        architecture.decisions_do_not_wait,
        {"hermetic.retry": "from .clock import monotonic", "hermetic.clock": ""},
        "a decision imports hermetic.clock",
    ),
    (
        architecture.time_is_asked_of_one_clock,
        {"hermetic.scope": "import time\ntime.monotonic()"},
        "hermetic.scope:2: asks time.monotonic",
    ),
    (
        architecture.time_is_asked_of_one_clock,
        {"hermetic.scope": "from time import monotonic_ns as now"},
        "hermetic.scope:1: asks time.monotonic",
    ),
    (
        architecture.decisions_do_not_wait,
        {"hermetic.boundary": "import threading"},
        "a decision imports threading",
    ),
    (
        architecture.decisions_do_not_wait,
        {"hermetic.routing": "async def choose(): ..."},
        "a decision awaits",
    ),
    (
        architecture.databases_are_named_in_dialects_alone,
        {"hermetic.listeners": 'def quick(family):\n    return family.name == "sqlite"'},
        "hermetic.listeners:2: names 'sqlite'",
    ),
    (architecture.files_are_short, {"hermetic.scope": "work()\n" * 601}, "601 lines"),
    (
        architecture.functions_are_short,
        {"hermetic.scope": LONG_FUNCTION},
        "hermetic.scope:1: the body of long has 81 lines",
    ),
    (architecture.names_say_something, {"hermetic.fast.utils": ""}, "'utils' says nothing"),
    (architecture.names_say_something, {"hermetic._helpers": ""}, "'_helpers' says nothing"),
    (architecture.names_say_something, {"hermetic.manager": ""}, "'manager' says nothing"),
]


@pytest.mark.parametrize(("rule", "sources", "message"), VIOLATIONS)
def test_a_violation_is_found(rule: Rule, sources: dict[str, str], message: str) -> None:
    found = rule(Tree.of(sources, packages=["hermetic", "hermetic.dialects"]))

    assert len(found) == 1
    assert message in found[0]


def test_every_rule_has_been_seen_to_fail() -> None:
    assert {rule for rule, _, _ in VIOLATIONS} == set(RULES)


@pytest.mark.parametrize(
    "sources",
    [
        {
            "hermetic": (
                '"""Sessions."""\n'
                "from .database import Database as Database\n"
                "__all__ = ['Database']\n"
                "for name in __all__:\n"
                "    globals()[name].__module__ = __name__\n"
                "del name\n"
            ),
            "hermetic.database": "from .scope import Scope",
            "hermetic.scope": (
                "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n"
                "    import pandas\n"
                "    from .database import Database\n"
            ),
        },
        {"hermetic.frames": "def read():\n    import pandas"},
        {"hermetic.fast.loading": "try:\n    import cython\nexcept ImportError:\n    pass"},
        {"hermetic.sinks.prometheus": "import prometheus_client\nfrom ..events import Event"},
        {"hermetic.cli": "from hermetic import Database"},
        {"hermetic.errors": "from sqlalchemy import exc\nfrom sqlalchemy.engine import make_url"},
        {"hermetic.gate": "import threading"},
        {"hermetic.scope": "import asyncio\nimport time\nasync def wait(): ..."},
        {"hermetic.scope": JUST_SHORT_ENOUGH},
    ],
)
def test_what_is_allowed_is_not_reported(sources: dict[str, str]) -> None:
    tree = Tree.of(sources, packages=["hermetic"])

    assert [message for rule in RULES for message in rule(tree)] == []
