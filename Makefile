# The commands of this repository.  Python 3.11 (or later) and make are all that must be there:
# everything else is put into .venv by the first command that needs it.
#
#   make demo     the whole way, on real data: train, build, serve, containerize, deploy, destroy
#   make test     lint, types, layers, every test, a Ray cluster, a quick benchmark
#   make coverage the tests with what of the code they run (on demand)
#   make lint     the first three of these alone
#   make format   writes the code the way lint wants it
#   make bench    the benchmarks in full (on demand; needs wrk), as a Markdown table
#   make bench-peers   the same beside other servers, each in an environment of its own
#   make soak     20 minutes of mixed load against one server (on demand)
#   make test-peers    installs those and sees that each does the same work
#   make test-long     the whole of what some tests take a sample of, such as every bit of an archive
#   make test-frameworks   installs the heavy frameworks, one after the other, and saves and loads a
#                      model of each (on demand: gigabytes, a quarter of an hour)
#   make clean    removes .venv and what tools left behind

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COVERAGE := 85
USUAL := not bench and not soak and not peers and not frameworks and not long and not cluster
PARALLEL := --numprocesses 3 --dist loadgroup
TIMED := tests/benchmarks tests/soak tests/server/observe

# In continuous integration an engine must be there, and every test for it and for the cluster must run.
ifeq ($(CI),true)
REQUIRE := --require engine
REQUIRE_CLUSTER := --require cluster
endif

.PHONY: demo test lint format unit cluster coverage bench-quick bench bench-peers test-peers test-long test-frameworks soak tools clean help
.DEFAULT_GOAL := help

demo: $(READY)
	$(BIN)/python scripts/demo.py

test: $(READY) tools lint unit cluster bench-quick

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	for plugin in plugins/*/; do (cd $$plugin/src && ../../../$(BIN)/lint-imports --config ../pyproject.toml) || exit 1; done

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Unit, engine and browser tests, three files at a time, since many of them wait; then those that measure time, by themselves.
# What is missing on this machine is skipped with its reason.  Tests write no bytecode, and start our programs a thousand times.
unit: $(READY)
	$(BIN)/python -m compileall -q modelpack plugins/*/src
	$(BIN)/pytest $(PARALLEL) -m "$(USUAL)" --ignore tests/bench $(REQUIRE)
	$(BIN)/pytest --numprocesses 2 --dist loadgroup tests/bench -m "$(USUAL)"

# A Ray cluster of two nodes, in an environment that is made once; by itself, since it takes both processors.
# (What skips a test and what must run is said in tests/conftest.py: so a folder below it is named, too.)
cluster: $(READY)
	$(BIN)/pytest tests/offline plugins/modelpack-ray/tests -m cluster --durations 5 $(REQUIRE_CLUSTER)

# The unit tests, with what of the code they run; a third slower, so it is on demand.
coverage: $(READY)
	$(BIN)/pytest $(PARALLEL) -m "$(USUAL)" --ignore tests/bench --cov --cov-report=
	$(BIN)/pytest tests/bench -m "$(USUAL)" --cov --cov-append --cov-report=term --cov-fail-under=$(COVERAGE)

# Timings are only true without coverage, and stand in these folders.
bench-quick: $(READY)
	$(BIN)/pytest $(TIMED) -m "bench or soak"

bench: $(READY)
	$(BIN)/python tests/benchmarks/bench_server.py
	$(BIN)/python tests/benchmarks/bench_aims.py

soak: $(READY)
	$(BIN)/python tests/soak/soak.py

bench-peers: $(READY) tools
	$(BIN)/python tests/benchmarks/bench_aims.py --peers

test-peers: $(READY)
	$(BIN)/pytest -m peers

test-long: $(READY)
	$(BIN)/pytest -m long

test-frameworks: $(READY)
	$(BIN)/pytest -m frameworks

# Browser, wrk and the like, where this user may install them.
tools:
	@scripts/system-packages

clean:
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache build dist

help:
	@sed -n '/^#   make/s/^# //p' Makefile

# The stamp is older than pyproject.toml when dependencies may have changed.
$(READY): pyproject.toml scripts/setup
	@scripts/setup $(VENV)
	@touch $@
