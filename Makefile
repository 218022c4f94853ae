# Everything is run in .venv, which is made when it is first needed.
#
#   make demo [URL=...]   the example, on a SQLite file unless a URL is given; hermetic top looks on
#   make demo WEB=1       the same with the inspector's page, until Ctrl-C
#   make test             all tests, on SQLite, PostgreSQL and MariaDB
#   make arq              the tests of arq, in an environment of their own
#   make fire             the tests of faults under load, which want the machine for themselves
#   make again            the few tests that have failed, alone
#   make compat           SQLAlchemy's own tests, with hermetic's sessions
#   make check            lint, types, architecture, generated files, documentation
#   make bench            measurements
#   make package          what is published: built, and tried in fresh environments
#   make soak HOURS=24    work and faults on real servers; also SECONDS=, SEED=, SOAK_ARGS=
#   make docs             the documentation, in docs/_build/html
#   make clean            remove what was made
#
# PYTHON chooses the interpreter, PYTEST_ARGS is passed to pytest, BENCH_ARGS to the measurements.
# VENV is another folder than .venv, for an environment beside it:
#
#   make bench PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
URL ?=
WEB ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
HOURS ?= 1
SECONDS ?= 0
SEED ?=
SOAK_ARGS ?=
VENV ?= .venv
# Each worker works in databases of its own; the servers are shared, and admit 100 clients each.
# Much of the time is waiting: one worker more than there are processors.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 4 ] && echo $$((n + 1)) || echo 4)

# The tests write much that nobody keeps.
TEMP := $(shell scripts/fast-temp)

export PYTHON VENV
# By the environment, because a URL may hold characters that make and the shell read as theirs, and
# a password that has no place in the echoed command.
export HERMETIC_DEMO_URL := $(value URL)

BIN := $(VENV)/bin
DEMO := $(VENV)/.installed-demo
# what is compiled, and how; the fast paths would go on as they were built
COMPILED := $(shell sed -n 's|^    "hermetic[.]\(.*\)",|\1|p' src/hermetic/fast/modules.py | tr . /)
SOURCES := $(COMPILED:%=src/hermetic/%.py) $(wildcard src/hermetic/*.pxd src/hermetic/*/*.pxd)

DEV := $(VENV)/.installed-dev
# arq asks for an older client of Redis than the cache
VENV_ARQ := $(VENV)-arq
ARQ := $(VENV_ARQ)/.installed
BENCH := $(VENV)/.installed-bench
PACKAGE := $(VENV)/.installed-package

.PHONY: demo test arq fire again compat check bench package soak docs clean bytecode

demo: $(DEMO)
	$(BIN)/python examples/bank.py $(if $(filter-out 0,$(WEB)),--web) $${HERMETIC_DEMO_URL:+"$$HERMETIC_DEMO_URL"}

# Many tests start processes, each of which would compile all that it imports where Python is told to
# write no bytecode.
bytecode: $(DEV)
	$(BIN)/python -m compileall -q -j 0 src tests tools examples

test: $(DEV) bytecode
	scripts/install-servers
	TMPDIR=$(TEMP) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --ignore tests/fire/test_fire.py $(PYTEST_ARGS)
	$(if $(strip $(PYTEST_ARGS)),,$(MAKE) arq)
	$(if $(strip $(PYTEST_ARGS)),,$(MAKE) fire)

# Two parts of the tests: all of them end with these, unless some were chosen.
#
# The first leaves no note for `again`, which would try its tests where they are skipped.
arq: $(ARQ)
	scripts/install-servers
	TMPDIR=$(TEMP) $(VENV_ARQ)/bin/python -m pytest -v -p no:cacheprovider tests/workers/test_arq.py $(PYTEST_ARGS)

fire: $(DEV) bytecode
	scripts/install-servers
	TMPDIR=$(TEMP) $(BIN)/python -m pytest -v tests/fire/test_fire.py $(PYTEST_ARGS)

# Of a run that a few tests have failed: these once more, alone, and what that run did not come to.
again: $(DEV) bytecode
	TMPDIR=$(TEMP) $(BIN)/python -m tools.few_failed
	$(MAKE) arq
	$(MAKE) fire || TMPDIR=$(TEMP) $(BIN)/python -m tools.few_failed

compat: $(DEV) bytecode
	$(BIN)/python -m tools.compat -n $(WORKERS) $(PYTEST_ARGS)

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py
	$(BIN)/python -m tools.generate_docs --check
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

bench: $(BENCH)
	$(BIN)/python bench/run.py $(BENCH_ARGS)
	$(if $(strip $(BENCH_ARGS)),,$(BIN)/python bench/many.py)
	$(if $(strip $(BENCH_ARGS)),,$(BIN)/python bench/frames.py)
	$(if $(strip $(BENCH_ARGS)),,$(BIN)/python bench/inspector.py)
	$(if $(strip $(BENCH_ARGS)),,$(BIN)/python bench/watching.py 1000 31)

package: $(PACKAGE)
	$(BIN)/python -m tools.check_package --keep dist

soak: $(DEV)
	scripts/install-servers
	$(BIN)/python -m tests.fire.soak --hours $(HOURS) --seconds $(SECONDS) --seed "$(SEED)" $(SOAK_ARGS)

# Its links are followed in a browser, where there is one.
docs: $(DEV)
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html
	$(BIN)/python -m tools.check_site docs/_build/html || [ $$? = 2 ]

# The tests' extras contain the demo's.
$(DEV): pyproject.toml setup.py $(SOURCES)
	scripts/make-venv dev
	touch $(DEMO) $@

$(DEMO): pyproject.toml setup.py $(SOURCES)
	scripts/make-venv demo
	touch $@

# What is compiled for the tests is there already, or is not needed.
$(ARQ): pyproject.toml setup.py
	HERMETIC_DISABLE_COMPILED=1 VENV=$(VENV_ARQ) scripts/make-venv arq-tests
	touch $@

$(PACKAGE): pyproject.toml
	scripts/make-venv package
	touch $@

$(BENCH): pyproject.toml
	scripts/make-venv bench
	touch $@

clean:
	rm -rf .venv .venv-* .compat build dist docs/_build .mypy_cache .pytest_cache .ruff_cache
	rm -rf .hypothesis
	rm -rf src/hermetic.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
