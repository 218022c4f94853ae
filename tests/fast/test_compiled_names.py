"""What the compiled form lacks: functions of C for others, attributes that nobody declared."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import hermetic
from hermetic.fast.modules import COMPILED

_PACKAGE: Final = Path(hermetic.__file__).parent
# functions of C, which Python does not see; those of a class are indented
_CLASS: Final = re.compile(
    r"^cdef class (\w+)(?:\((?:\w+\.)?(\w+)\))?:\n((?:    .*\n|\n)*)", re.MULTILINE
)
_C_FUNCTION: Final = re.compile(r"^cdef [^(:\n]*?(\w+)\(", re.MULTILINE)


def module_of(path: Path) -> str:
    parts = path.relative_to(_PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[tuple[str, str]]:
    """Every name that a file imports from a module of ours, with the module."""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            module = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            found |= {(module, alias.name) for alias in node.names}
    return found


def c_functions(pxd: str) -> set[str]:
    return set(_C_FUNCTION.findall(pxd))


def test_no_python_module_imports_a_function_of_c() -> None:
    hidden = {
        (module_of(path), name)
        for path in _PACKAGE.rglob("*.pxd")
        for name in c_functions(path.read_text(encoding="utf-8"))
    }
    assert hidden, "no function of C was found at all"

    wrong = {
        module_of(path): sorted(imported(path) & hidden)
        for path in _PACKAGE.rglob("*.py")
        if module_of(path) not in COMPILED and imported(path) & hidden
    }

    assert wrong == {}


def declared(pxd: str) -> dict[str, tuple[str, set[str]]]:
    """The classes of C, each with its base and the words of its declarations."""
    return {name: (base, set(re.findall(r"\w+", body))) for name, base, body in _CLASS.findall(pxd)}


def assigned(source: str) -> dict[str, set[str]]:
    """The attributes that a class assigns to itself."""
    return {
        node.name: {
            each.attr
            for each in ast.walk(node)
            if isinstance(each, ast.Attribute)
            and isinstance(each.ctx, ast.Store)
            and isinstance(each.value, ast.Name)
            and each.value.id == "self"
        }
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
    }


def undeclared(classes: dict[str, tuple[str, set[str]]], sources: list[str]) -> list[str]:
    def known(name: str) -> set[str]:
        base, words = classes.get(name, ("", set()))
        return words | (known(base) if base else set())

    return [
        f"{name}.{attribute}"
        for source in sources
        for name, attributes in assigned(source).items()
        if name in classes
        for attribute in sorted(attributes - known(name))
    ]


def test_every_attribute_of_a_class_of_c_is_declared() -> None:
    files = list(_PACKAGE.rglob("*.pxd"))
    classes = {
        name: found
        for path in files
        for name, found in declared(path.read_text(encoding="utf-8")).items()
    }
    sources = [path.with_suffix(".py").read_text(encoding="utf-8") for path in files]

    assert "Scope" in classes
    assert undeclared(classes, sources) == []


def test_an_attribute_that_nobody_declared_is_found() -> None:
    pxd = "cdef class Base:\n    cdef public int a\n\ncdef class C(Base):\n    cdef list b\n"
    source = "class C:\n    def f(self):\n        self.a = self.b = self.c = 1\n"

    assert undeclared(declared(pxd), [source]) == ["C.c"]


def test_functions_of_c_are_told_from_others() -> None:
    pxd = (
        "cdef dict four\n"
        "cdef bint one(object a) except -1\n"
        "cpdef two(b)\n"
        "cdef class C:\n"
        "    cdef three(self)\n"
    )

    assert c_functions(pxd) == {"one"}
