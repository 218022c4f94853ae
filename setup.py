"""The compiled modules; everything else about the build is in pyproject.toml.

Without Cython or a C compiler the package is built without them and runs their Python files, unless
``HERMETIC_REQUIRE_COMPILED=1`` asks for a failure.
"""

from __future__ import annotations

import ast
import os
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path("src")
REQUIRED = os.environ.get("HERMETIC_REQUIRE_COMPILED", "") not in ("", "0")
# those that this process may use; a container sees all that the machine has
_ALLOWED = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
PROCESSORS = min(4, len(_ALLOWED))
DISABLED = os.environ.get("HERMETIC_DISABLE_COMPILED", "") not in ("", "0")


def compiled_modules() -> list[str]:
    """The list in the package, read without importing it."""
    tree = ast.parse((SOURCE / "hermetic" / "fast" / "modules.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "COMPILED":
            assert node.value is not None
            return list(ast.literal_eval(node.value))
    raise SystemExit("hermetic.fast.modules has no list COMPILED")


def extensions() -> list[Extension]:
    if DISABLED:
        return []
    if find_spec("Cython") is None:
        if REQUIRED:
            raise SystemExit("HERMETIC_REQUIRE_COMPILED is set, and Cython is missing")
        return []
    return [
        Extension(
            name,
            [str(SOURCE / Path(*name.split(".")).with_suffix(".py"))],
            optional=not REQUIRED,
            # debug information is three quarters of a module's size, and takes its time to write
            extra_compile_args=["-g0"],
        )
        for name in compiled_modules()
    ]


class Build(build_ext):
    """Has Cython write the C files when they are compiled, and not for a source package too."""

    def run(self) -> None:
        from Cython.Build import cythonize

        written = cythonize(
            self.extensions,
            # annotations are for people and mypy; C types are declared as such
            compiler_directives={"language_level": "3", "annotation_typing": False},
            nthreads=PROCESSORS,
        )
        # cythonize makes new ones, without what setuptools knows of them
        made = {each.name: each for each in written}
        for extension in self.extensions:
            extension.sources = made[extension.name].sources
            extension.depends = made[extension.name].depends
        # one C compiler for each processor; pip's editable build forgets the option
        self.parallel = PROCESSORS
        super().run()


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": Build},
)
