# Each target works on a fresh machine: it makes .venv and installs what the project needs.
#   make dev     everything on this machine: ARGS="--port 0 --data DIR"
#   make test    all tests with coverage:    ARGS="tests/storage -k append" runs some of them, without the bounds;
#                WORKERS=0 runs them in one process
#   make check   style, types and the direction of imports
#   make bench   messages per second and their cost, beside other servers
#   make clean   remove what the other targets made, but no data
# PYTHON=python3.12 chooses the interpreter of a new .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
ARGS ?=
# Test processes, each with servers of its own: on two cores a third one fills the time in which the others wait.
WORKERS ?= 3
# Servers are started hundreds of times: their code is compiled once, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: dev test check bench clean

dev: $(INSTALLED)
	@$(BIN)/chatserver dev $(ARGS)

test: $(INSTALLED)
	@$(BIN)/python -m tests.browser.chromium
	$(BIN)/coverage erase
	$(BIN)/pytest --numprocesses=$(WORKERS) --dist=loadfile --cov --cov-report= $(ARGS)
ifeq ($(ARGS),)
	$(BIN)/coverage report --fail-under=90
	$(BIN)/coverage report --include='policies/*,storage/*' --fail-under=95
endif

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(BIN)/python -m tests.bench $(ARGS)

clean:
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The virtual environment is taken for finished only when the packages are in it.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; choose one with: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "The venv module is missing; on Debian and Ubuntu run: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/pip || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
