"""The rules of the package's shape, as functions from its source to a list of violations."""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGE: Final = "hermetic"

# The first name below the package, and how far up it stands. An import goes to the same layer or
# further down.
LAYERS: Final[Mapping[str, int]] = {
    # Facts
    "budget": 0,
    "checking": 0,
    "clock": 0,
    "configuration": 0,
    "errors": 0,
    "error_pages": 0,
    "events": 0,
    "faults": 0,
    "options": 0,
    "keywords": 0,
    "progress": 0,
    "proof": 0,
    "blending": 0,
    "replica": 0,
    "seen": 0,
    "row_errors": 0,
    "frame_errors": 0,
    "shard_errors": 0,
    "tenancy": 0,
    # Knowledge
    "dialects": 1,
    # Decisions
    "boundary": 2,
    "connects": 2,
    "gate": 2,
    "freshness": 2,
    "generation": 2,
    "retry": 2,
    "routing": 2,
    # Machinery
    "release": 3,
    "brought": 3,
    "cockroachdb_dialect": 3,
    "binding": 3,
    "branch": 3,
    "coordinator": 3,
    "decisions": 3,
    "recovery": 3,
    "vote": 3,
    "current": 3,
    "ending": 3,
    "engine": 3,
    "engines": 3,
    "cancellation": 3,
    "connecting": 3,
    "credentials": 3,
    "connection": 3,
    "execution": 3,
    "limits": 3,
    "place": 3,
    "streams": 3,
    "strings": 3,
    "explain": 3,
    "factories": 3,
    "flow": 3,
    "forked": 3,
    "fast": 3,
    "group_session": 3,
    "handed": 3,
    "hooks": 3,
    "interrupts": 3,
    "known": 3,
    "listeners": 3,
    "loan": 3,
    "outcome": 3,
    "owner": 3,
    "parts": 3,
    "pool": 3,
    "probing": 3,
    "refusals": 3,
    "registry": 3,
    "apart": 3,
    "closing": 3,
    "first_look": 3,
    "remains": 3,
    "resolver": 3,
    "touched": 3,
    "restoring": 3,
    "routes": 3,
    "tenant_servers": 3,
    "rows": 3,
    "bulk": 3,
    "many": 3,
    "nearby": 3,
    "conflicts": 3,
    "sealed": 3,
    "session": 3,
    "tenant_objects": 3,
    "trace": 3,
    "transaction": 3,
    "upkeep": 3,
    "watchdog": 3,
    "watching": 3,
    # Shells
    "async_session": 3,
    "attempt": 4,
    "attempts": 4,
    "block": 4,
    "decorated": 4,
    "redaction": 0,
    "database": 4,
    "scope": 4,
    "shield": 4,
    "work": 4,
    # Capabilities
    "cache": 5,
    "frames": 5,
    "shards": 5,
    "tenants": 5,
    "group": 5,
    # Edges
    "__main__": 6,
    "cli": 6,
    "commands": 6,
    "doctor": 6,
    "inspector": 6,
    "integrations": 6,
    "outbox": 6,
    "sinks": 6,
    "terminal": 6,
    "testing": 6,
}
DECISIONS: Final = 2
# The package itself re-exports the core; whoever wants an edge imports it by name.
CORE: Final = 5
EDGES: Final = 6

MAX_FILE_LINES: Final = 600
MAX_BODY_LINES: Final = 80
# Names that say nothing about what is inside.
VAGUE_NAMES: Final = frozenset(
    {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
)

# The families and their drivers, which the machinery knows by what they answer alone.
DATABASE_NAMES: Final = frozenset(
    {"sqlite", "pysqlite", "aiosqlite", "postgresql", "psycopg", "psycopg2", "asyncpg"}
    | {"mysql", "mariadb", "mysqldb", "pymysql", "asyncmy"}
)

# What the core may import when it is itself imported.
REQUIRED_LIBRARIES: Final = frozenset({"sqlalchemy", "typing_extensions"})
# Compiled files are ordinary Python where Cython is not installed, so they try.
TRIED_LIBRARIES: Final = frozenset({"cython", "Cython"})
# Below the machinery SQLAlchemy lends its words, not its work: errors, URLs, and the pool classes
# that an option may name.
SQLALCHEMY_FACTS: Final = frozenset(
    {
        "sqlalchemy.URL",
        "sqlalchemy.engine.URL",
        "sqlalchemy.engine.make_url",
        "sqlalchemy.engine.url",
        "sqlalchemy.exc",
        "sqlalchemy.make_url",
        "sqlalchemy.orm.exc",
        "sqlalchemy.pool",
    }
)
# Decisions neither wait nor ask what time it is.
WAITING_LIBRARIES: Final = frozenset(
    {"asyncio", "concurrent", "select", "selectors", "signal", "socket", "subprocess", "time"}
)
# A pool's queue and a budget of retries are shared by threads: their state is under a lock.
LOCK_HOLDERS: Final = frozenset({"budget", "connects", "gate", "generation", "retry"})


@dataclass(frozen=True, slots=True)
class Module:
    name: str
    source: str
    tree: ast.Module
    is_package: bool

    @property
    def unit(self) -> str:
        """The first name below the package; empty for the package itself."""
        return unit_of(self.name)

    @property
    def layer(self) -> int:
        return LAYERS.get(self.unit, CORE)


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name; `target` is a module of the package where there is one of that name."""

    target: str
    name: str
    line: int
    # `import x`, which binds the outermost package.
    plain: bool
    at_import_time: bool
    for_types_only: bool
    tried: bool

    @property
    def root(self) -> str:
        """The outermost package that it comes from."""
        return self.target.partition(".")[0]

    @property
    def inside(self) -> bool:
        return self.root == PACKAGE

    @property
    def full_name(self) -> str:
        return f"{self.target}.{self.name}" if self.name else self.target


Rule = Callable[["Tree"], list[str]]


class Tree(dict[str, Module]):
    """Modules by their dotted names."""

    @classmethod
    def read(cls, folder: Path) -> Tree:
        sources = {}
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            sources[".".join(parts)] = path.read_text(encoding="utf-8")
        packages = {
            ".".join(path.parent.relative_to(folder.parent).parts)
            for path in folder.rglob("__init__.py")
        }
        return cls.of(sources, packages)

    @classmethod
    def of(cls, sources: Mapping[str, str], packages: Iterable[str] = (PACKAGE,)) -> Tree:
        known = set(packages)
        return cls(
            {
                name: Module(name, source, ast.parse(source), name in known)
                for name, source in sources.items()
            }
        )


def unit_of(name: str) -> str:
    return name.partition(".")[2].partition(".")[0]


# Reading imports


def imports_of(module: Module, tree: Tree) -> Iterator[Import]:
    reader = _ImportReader(module, tree)
    reader.visit(module.tree)
    yield from reader.found


class _ImportReader(ast.NodeVisitor):
    def __init__(self, module: Module, tree: Tree) -> None:
        self.found: list[Import] = []
        self._module = module
        self._tree = tree
        self._in_function = False
        self._for_types_only = False
        self._tried = False

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, "", node.lineno, plain=True)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self._absolute(node)
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            if submodule in self._tree:
                self._add(submodule, "", node.lineno, plain=False)
            else:
                self._add(base, alias.name, node.lineno, plain=False)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) not in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            self.generic_visit(node)
            return
        outer, self._for_types_only = self._for_types_only, True
        for statement in node.body:
            self.visit(statement)
        self._for_types_only = outer
        for statement in node.orelse:
            self.visit(statement)

    def visit_Try(self, node: ast.Try) -> None:
        caught = {ast.unparse(each.type) for each in node.handlers if each.type is not None}
        outer, self._tried = self._tried, bool(caught & {"ImportError", "ModuleNotFoundError"})
        for statement in node.body:
            self.visit(statement)
        self._tried = outer
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer, self._in_function = self._in_function, True
        self.generic_visit(node)
        self._in_function = outer

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self._module.name.split(".")
        dropped = node.level - 1 if self._module.is_package else node.level
        return ".".join([*parts[: len(parts) - dropped], *([node.module] if node.module else [])])

    def _add(self, target: str, name: str, line: int, *, plain: bool) -> None:
        self.found.append(
            Import(
                target,
                name,
                line,
                plain=plain,
                at_import_time=not self._in_function and not self._for_types_only,
                for_types_only=self._for_types_only,
                tried=self._tried,
            )
        )


# The rules


def every_module_has_a_place(tree: Tree) -> list[str]:
    unknown = sorted({module.unit for module in tree.values()} - set(LAYERS) - {""})
    return [f"{unit}: in no layer; add it to LAYERS in tests/architecture.py" for unit in unknown]


def imports_go_down(tree: Tree) -> list[str]:
    found = []
    for module in tree.values():
        for each in imports_of(module, tree):
            target = LAYERS.get(unit_of(each.target))
            if not each.inside or each.for_types_only or target is None:
                continue
            if target > module.layer:
                found.append(
                    f"{module.name}:{each.line}: layer {module.layer} imports {each.target},"
                    f" which is in layer {target}"
                )
    return found


def nothing_imports_the_package_itself(tree: Tree) -> list[str]:
    """The edges alone may take public names from it: it does not import them."""
    found = []
    for module in tree.values():
        for each in imports_of(module, tree):
            if not each.inside or each.for_types_only:
                continue
            if each.plain:
                found.append(f"{module.name}:{each.line}: import {each.target} from inside")
            elif each.target == PACKAGE and module.layer < EDGES:
                found.append(f"{module.name}:{each.line}: takes {each.name} from the package")
    return found


def no_import_cycles(tree: Tree) -> list[str]:
    graph = {
        module.name: {
            each.target
            for each in imports_of(module, tree)
            if each.at_import_time and each.target in tree
        }
        for module in tree.values()
    }
    return ["import cycle: " + " → ".join([*cycle, cycle[0]]) for cycle in _cycles(graph)]


def the_package_only_reexports(tree: Tree) -> list[str]:
    root = tree.get(PACKAGE)
    if root is None:
        return []
    return [
        f"{PACKAGE}:{statement.lineno}: more than a re-export: {ast.unparse(statement)[:60]}"
        for statement in root.tree.body
        if not _reexports(statement)
    ]


def the_core_starts_without_optional_libraries(tree: Tree) -> list[str]:
    late = _imported_late(tree)
    found = []
    for module in tree.values():
        for each in imports_of(module, tree):
            if module.layer > CORE or each.inside or not each.at_import_time:
                continue
            if module.name in late:
                continue  # subclasses of a driver's: whoever imports it has the driver
            if each.root in TRIED_LIBRARIES and each.tried:
                continue
            if each.root not in REQUIRED_LIBRARIES | sys.stdlib_module_names:
                found.append(
                    f"{module.name}:{each.line}: imports {each.root}, which is optional;"
                    " import it where it is used"
                )
    return found


def _imported_late(tree: Tree) -> set[str]:
    """Modules that are imported by others, and never while these are imported themselves; those
    that only such ones import are none of the core's start either.
    """
    at_import_time: dict[str, set[str]] = {}
    late: set[str] = set()
    for module in tree.values():
        for each in imports_of(module, tree):
            late.add(each.target)
            if each.at_import_time:
                at_import_time.setdefault(module.name, set()).add(each.target)
    while early := {t for name in tree if name not in late for t in at_import_time.get(name, ())}:
        if not early & late:
            break
        late -= early
    return late


def lower_layers_use_only_the_facts_of_sqlalchemy(tree: Tree) -> list[str]:
    found = []
    for module in tree.values():
        for each in imports_of(module, tree):
            if module.layer > DECISIONS or each.for_types_only or each.root != "sqlalchemy":
                continue
            if not {each.target, each.full_name} & SQLALCHEMY_FACTS:
                found.append(
                    f"{module.name}:{each.line}: layer {module.layer} imports {each.full_name}"
                )
    return found


def decisions_do_not_wait(tree: Tree) -> list[str]:
    found = []
    for module in tree.values():
        if module.layer != DECISIONS:
            continue
        for each in imports_of(module, tree):
            locks = each.root == "threading" and module.unit not in LOCK_HOLDERS
            clock = each.target == f"{PACKAGE}.clock"
            if not each.for_types_only and (locks or clock or each.root in WAITING_LIBRARIES):
                what = each.target if clock else each.root
                found.append(f"{module.name}:{each.line}: a decision imports {what}")
        found += [
            f"{module.name}:{node.lineno}: a decision awaits"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.AsyncFunctionDef | ast.Await)
        ]
    return found


def time_is_asked_of_one_clock(tree: Tree) -> list[str]:
    """A test that has frozen ``time.monotonic`` has not frozen a server."""
    return [
        f"{module.name}:{node.lineno}: asks time.monotonic; the clock has its own"
        for module in tree.values()
        if module.unit != "clock"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute | ast.alias)
        and (node.attr if isinstance(node, ast.Attribute) else node.name)
        in ("monotonic", "monotonic_ns")
        and _is_of_time(node, module.tree)
    ]


def _is_of_time(node: ast.Attribute | ast.alias, tree: ast.Module) -> bool:
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id == "time"
    return any(
        isinstance(each, ast.ImportFrom) and each.module == "time" and node in each.names
        for each in ast.walk(tree)
    )


def databases_are_named_in_dialects_alone(tree: Tree) -> list[str]:
    """Whoever asks for a name wants an answer that a family should give.

    A fast path alone may list the drivers that it was made for: for any other it steps aside.
    """
    return [
        f"{module.name}:{node.lineno}: names {node.value!r}: let the family say what is meant"
        for module in tree.values()
        if DECISIONS <= module.layer < EDGES and unit_of(module.name) != "fast"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and node.value in DATABASE_NAMES
    ]


def files_are_short(tree: Tree) -> list[str]:
    return [
        f"{module.name}: {lines} lines, more than {MAX_FILE_LINES}"
        for module in tree.values()
        if (lines := len(module.source.splitlines())) > MAX_FILE_LINES
    ]


def functions_are_short(tree: Tree) -> list[str]:
    return [
        f"{module.name}:{function.lineno}: the body of {function.name} has {lines} lines,"
        f" more than {MAX_BODY_LINES}"
        for module in tree.values()
        for function in functions_of(module)
        if (lines := body_lines(function)) > MAX_BODY_LINES
    ]


def names_say_something(tree: Tree) -> list[str]:
    return [
        f"{name}: {part!r} says nothing about what is inside"
        for name in tree
        for part in name.split(".")
        if part.strip("_") in VAGUE_NAMES
    ]


RULES: Final[tuple[Rule, ...]] = (
    every_module_has_a_place,
    imports_go_down,
    nothing_imports_the_package_itself,
    no_import_cycles,
    the_package_only_reexports,
    the_core_starts_without_optional_libraries,
    lower_layers_use_only_the_facts_of_sqlalchemy,
    decisions_do_not_wait,
    time_is_asked_of_one_clock,
    databases_are_named_in_dialects_alone,
    files_are_short,
    functions_are_short,
    names_say_something,
)


# Measures


def functions_of(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function's body, its docstring not counted."""
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


def body_sizes(tree: Tree) -> list[int]:
    return sorted(
        body_lines(function) for module in tree.values() for function in functions_of(module)
    )


def summary(tree: Tree) -> str:
    sizes = body_sizes(tree) or [0]
    lines = [len(module.source.splitlines()) for module in tree.values()] or [0]
    return (
        f"{len(tree)} modules, {sum(lines)} lines, longest {max(lines)};"
        f" function bodies: median {statistics.median(sizes):g},"
        f" 90th percentile {sizes[len(sizes) * 9 // 10]}, longest {sizes[-1]}"
    )


def _reexports(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.If(test=test, body=body, orelse=[]):
            return ast.unparse(test) == "TYPE_CHECKING" and all(map(_reexports, body))
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name.startswith("__") and name.endswith("__")
        # Public names say in a traceback where they are imported from.
        case ast.For(body=[ast.Assign(targets=[ast.Attribute(attr="__module__")])], orelse=[]):
            return True
        case ast.Delete():
            return True
    return False


def _cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """One cycle for each group of modules that reach each other."""
    found: list[list[str]] = []
    finished: set[str] = set()

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            found.append(path[path.index(name) :])
            return
        if name in finished:
            return
        for target in sorted(graph[name]):
            walk(target, [*path, name])
        finished.add(name)

    for name in sorted(graph):
        walk(name, [])
    return found
