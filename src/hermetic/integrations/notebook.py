"""Notebooks and IPython: a scope for a cell, on request.

``%load_ext hermetic.integrations.notebook`` brings two magics::

    %%scope db, timeout=5.0
    session.add(User(username="ann"))

runs the cell inside ``with db.session(timeout=5.0) as session``, and ``%scopes on`` does so for
every cell that follows, read-only. The cell is rewritten before it is compiled, so that its line
numbers, its result and its ``await`` are what they are without a scope.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import re
import sys
import warnings
from typing import Any, Final

from ..database import Database
from ..errors import ConfigurationError, DatabaseClosed, MissingDriver, Outcome
from ..group import Group

try:
    from IPython.core.error import UsageError
except ImportError as missing:
    raise MissingDriver("IPython is not installed.", extra="notebook") from missing

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

# what cells call, in the shell's namespace
_NAME: Final = "__hermetic_cells__"
_MAGIC = re.compile(r"%%scope(?:\s+(?P<arguments>.*?))?\s*$")
_USAGE: Final = "%scopes on [database][, option=value …] | %scopes off"
_WORDS: Final = {
    Outcome.COMMITTED: "committed",
    Outcome.NOT_COMMITTED: "rolled back",
    Outcome.UNKNOWN: "whether it was committed is not known",
}


class Cells(ast.NodeTransformer):
    """The cells of one shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        # the arguments of every cell's scope; None while only those that say %%scope have one
        self._every: str | None = None
        # whether a cell is about to be compiled, and not what a magic inside of one compiles
        self._about_to_run = False
        # of the cells that run, one inside the other
        self._sessions: list[Any] = []

    # ------------------------------------------------------------ rewriting

    def marked(self, lines: list[str]) -> list[str]:
        """The lines of a cell, with a string in the place of ``%%scope``: that may stand before
        everything.

        :raises SyntaxError: there are no arguments behind it.
        """
        if not lines or _MAGIC.match(lines[0]) is None:
            return lines
        _arguments(lines[0])
        return [f"{lines[0].strip()!r}\n", *lines[1:]]

    def visit_Module(self, cell: ast.Module) -> ast.Module:
        every, self._about_to_run = self._about_to_run and self._every is not None, False
        given = _marked(cell)
        if given is not None:
            cell.body.pop(0)
            given.func = _method("of_this").func
        elif every and not _holds_marked(cell):
            given = _method("of_every")
        else:
            return cell
        return _inside(cell, given, str(self._shell.ast_node_interactivity))

    def about_to_run(self, info: Any) -> None:
        self._about_to_run = True

    # ------------------------------------------------------------ what a rewritten cell calls

    def of_this(self, *databases: Any, **options: Any) -> Any:
        """The unit of a cell that says ``%%scope``."""
        if len(databases) > 1:
            raise UsageError("%%scope takes one Database, and options by their names")
        database = databases[0] if databases else self._only()[1]
        return database.session(**{"name": "cell", **options})

    def of_every(self) -> Any:
        """The unit of any other cell; none where its Database is gone, so that a new one can be
        made in a cell.
        """
        try:
            database, options = self._shell.ev(f"(lambda db, **o: (db, o))({self._every})")
            database.check_open()
        except (DatabaseClosed, NameError) as gone:
            print(f"no scope: {gone}")  # noqa: T201 - to whoever runs the cell
            return contextlib.nullcontext()
        return database.session(**{"name": "cell", "readonly": True, **options})

    def opened(self, session: Any) -> None:
        self._sessions[-1] = session

    def show(self, value: Any) -> None:
        """The cell's result, shown while its scope is open: what it loads to be shown is there."""
        sys.displayhook(value)

    def __enter__(self) -> None:
        self._sessions.append(None)

    def __exit__(self, *raised: object) -> None:
        session = self._sessions.pop()
        scope = None if session is None else session.scope
        if scope is not None and not scope.options.readonly and scope.outcome is not None:
            print(_WORDS[scope.outcome])  # noqa: T201 - as above

    # ------------------------------------------------------------ magics

    def scope(self, line: str, cell: str) -> None:
        """Run the cell in one scope: ``%%scope [database][, option=value …]``.

        It is committed when the cell ends well, and rolled back when it fails or is interrupted.
        Its session is ``session``: of asyncio in a cell that awaits something. The options are
        those of ``Database.session()``. Without a Database it is the only one that the notebook has
        a name for.
        """
        raise UsageError("%%scope has to be the cell's first line")

    def scopes(self, line: str) -> None:
        """Run every cell in a scope: ``%scopes on [database][, option=value …]``, ``%scopes off``.

        The scopes are read-only unless ``readonly=False`` is given: a cell that writes says so by
        ``%%scope``. Without a Database it is the only one that the notebook has a name for.
        """
        word, _, arguments = line.strip().partition(" ")
        if word == "off" and not arguments:
            self._every = None
        elif word == "on":
            self._every = self._checked(arguments.strip())
        else:
            raise UsageError(_USAGE)

    def _checked(self, arguments: str) -> str:
        databases, options = self._shell.ev(f"(lambda *d, **o: (d, o))({arguments})")
        if len(databases) > 1:
            raise UsageError(_USAGE)
        if not databases:
            name, database = self._only()
            arguments = f"{name}, {arguments}" if arguments else name
        else:
            database = databases[0]
        database.session(**options)  # wrong ones are refused here, once
        return arguments

    def _only(self) -> tuple[str, Any]:
        """The one Database that the notebook has a name for."""
        found: dict[int, tuple[str, Any]] = {}
        for name, value in self._shell.user_ns.items():
            if isinstance(value, Database | Group) and not name.startswith("_"):
                found.setdefault(id(value), (name, value))
        if len(found) == 1:
            return next(iter(found.values()))
        names = ", ".join(sorted(name for name, _ in found.values()))
        has = f"several Databases: {names}" if found else "no Database"
        raise ConfigurationError(f"The notebook has {has}.", hint="Name one: %%scope db")


# ---------------------------------------------------------------- a cell as a tree


def _method(name: str) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name(_NAME, ast.Load()), name, ast.Load()), [], [])


def _marked(cell: ast.Module) -> ast.Call | None:
    """A call with the arguments of ``%%scope``, where a cell begins with that."""
    match cell.body:
        case [ast.Expr(value=ast.Constant(value=str(first))), *_] if _MAGIC.match(first):
            return _arguments(first)
    return None


def _holds_marked(cell: ast.Module) -> bool:
    """Whether a cell is another cell magic's, above ``%%scope``: its scope is that one."""
    match cell.body:
        case [ast.Expr(value=ast.Call(func=ast.Attribute(attr="run_cell_magic"), args=[*_, body]))]:
            if not isinstance(body, ast.Constant):
                return False
            magics = itertools.takewhile(_is_cell_magic, str(body.value).splitlines())
            return any(_MAGIC.match(line) for line in magics)
    return False


def _is_cell_magic(line: str) -> bool:
    return line.startswith("%%")


def _arguments(line: str) -> ast.Call:
    found = _MAGIC.match(line)
    arguments = "" if found is None else found["arguments"] or ""
    match ast.parse(f"_({arguments})", "<%%scope>", mode="eval").body:
        case ast.Call(func=ast.Name(id="_")) as call:
            return call
    raise SyntaxError(f"{arguments!r} are no arguments")  # as `db)(` are none


def _inside(cell: ast.Module, unit: ast.Call, shown: str) -> ast.Module:
    """A cell inside of a scope."""
    awaits = _awaits(cell)
    first = next((n for n, each in enumerate(cell.body) if not _is_of_compiler(each)), None)
    body = [] if first is None else cell.body[first:]
    before = cell.body[: len(cell.body) - len(body)]
    at = body[0] if body else ast.Pass(lineno=1, col_offset=0)
    opened = _method("opened")
    opened.args = [ast.Name("session", ast.Load())]
    block = (ast.AsyncWith if awaits else ast.With)(
        [ast.withitem(unit, ast.Name("session", ast.Store()))],
        [ast.Expr(opened), *_showing(body, shown)],
    )
    told = ast.With([ast.withitem(ast.Name(_NAME, ast.Load()), None)], [block])
    cell.body = [*before, ast.copy_location(told, at)]
    return ast.fix_missing_locations(cell)


def _showing(body: list[ast.stmt], shown: str) -> list[ast.stmt]:
    """Statements, with what the shell shows of them shown: their last value, mostly."""
    if shown == "last_expr_or_assign" and body and isinstance(body[-1], ast.Assign):
        target = body[-1].targets[0]
        if isinstance(target, ast.Name):
            value = ast.copy_location(ast.Name(target.id, ast.Load()), body[-1])
            body = [*body, ast.copy_location(ast.Expr(value), body[-1])]
    for number, each in enumerate(body):
        last = number == len(body) - 1
        if isinstance(each, ast.Expr) and (shown == "all" or (last and shown != "none")):
            show = ast.copy_location(_method("show"), each)
            show.args = [each.value]
            each.value = show
    return body


def _is_of_compiler(statement: ast.stmt) -> bool:
    """Whether it has to stand outside of any block."""
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _awaits(cell: ast.Module) -> bool:
    """Whether something is awaited outside of functions: as IPython finds it out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = compile(cell, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except (SyntaxError, ValueError):
            return False  # the shell says what is wrong
    return bool(code.co_flags & inspect.CO_COROUTINE)


# ---------------------------------------------------------------- the extension


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext hermetic.integrations.notebook``."""
    if _NAME in shell.user_ns:
        return
    cells = Cells(shell)
    shell.push({_NAME: cells}, interactive=False)
    shell.input_transformers_cleanup.append(cells.marked)
    shell.ast_transformers.append(cells)
    shell.events.register("pre_run_cell", cells.about_to_run)
    shell.register_magic_function(cells.scope, "cell", "scope")
    shell.register_magic_function(cells.scopes, "line", "scopes")


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext hermetic.integrations.notebook``."""
    cells = shell.user_ns.pop(_NAME, None)
    if cells is None:
        return
    shell.input_transformers_cleanup.remove(cells.marked)
    shell.ast_transformers.remove(cells)
    shell.events.unregister("pre_run_cell", cells.about_to_run)
    del shell.magics_manager.magics["cell"]["scope"]
    del shell.magics_manager.magics["line"]["scopes"]
