# `make demo` and `make test` need Python 3.11-3.13 and make; everything else they install into .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The numerical libraries start one thread a core in every test process otherwise, and get in each other's way.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
WORKERS ?= 2

.PHONY: help demo test test-all lint types imports check env docs docs-env clean

help:
	@echo "make demo      train on made images, evaluate, write runs/demo/report.html (minutes)"
	@echo "make test      the tests (minutes)"
	@echo "make test-all  the tests and the slow ones"
	@echo "make check     lint, format, types, import directions"
	@echo "make docs      the documentation as a site, in site/ (broken links are errors)"
	@echo "make env       only the environment, in $(VENV)"

env: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "modicum needs Python 3.11 to 3.13, $(PYTHON) is another; run make with PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(INSTALLED)

demo: $(INSTALLED)
	@$(BIN)/modicum demo

test: $(INSTALLED)
	@$(TEST_ENV) $(BIN)/python -m pytest -m 'not slow and not gpu' -n $(WORKERS) --dist worksteal

test-all: $(INSTALLED)
	@$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(INSTALLED)
	@$(BIN)/mypy

imports: $(INSTALLED)
	@$(BIN)/lint-imports

check: lint types imports

# An environment of its own: the site reads the sources, and needs neither them installed nor PyTorch.
DOCS_VENV := .venv-docs
DOCS_BIN := $(DOCS_VENV)/bin
DOCS_INSTALLED := $(DOCS_VENV)/.installed

docs-env: $(DOCS_INSTALLED)

$(DOCS_INSTALLED): pyproject.toml constraints-docs.txt
	@test -x $(DOCS_BIN)/python || $(PYTHON) -m venv $(DOCS_VENV)
	@$(DOCS_BIN)/python -m pip install --quiet --disable-pip-version-check -r constraints-docs.txt
	@touch $(DOCS_INSTALLED)

docs: $(DOCS_INSTALLED)
	@$(DOCS_BIN)/mkdocs build --strict --clean

clean:
	rm -rf $(VENV) $(DOCS_VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
