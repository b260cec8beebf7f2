# `make demo`, `make test`, `make check`: each sets up what it needs in .venv, with plain pip.
PYTHON ?= python3
BIN := .venv/bin
# Tests wait for processes and pages as often as they compute.
WORKERS ?= 3

# Tests start hundreds of processes: each would compile this package anew where bytecode is not kept.
test test-long test-slow: export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo serve test test-long test-slow check format lint types layers budget bench clean

help:
	@echo "make demo       draw 2,000 garments, index them, answer three composed queries"
	@echo "make serve      a page over the demo's gallery, at http://127.0.0.1:8000"
	@echo "make test       the quick part of the test suite: CPU, no network"
	@echo "make test-long  what takes seconds each: kills, servers, looks of the page"
	@echo "make test-slow  full-size architectures, long kill tests"
	@echo "make check      format, lint, types, layers, file sizes, tests: what CI runs"
	@echo "make bench      every figure but those of the trainings (docs/wardrobe.md); MYNTRA=data/myntra NOTO_EMOJI=data/noto_emoji for those on photographs"
	@echo "make format     rewrite the sources in the house style"

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "composir needs Python 3.11 or newer; say make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv || \
		{ rm -f $@; echo "no .venv could be made, see above (on Debian: apt install python3-venv)"; exit 1; }

.venv/.installed: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/.installed-dev: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch .venv/.installed $@

.venv/.installed-serve: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[serve,scale]'
	@touch .venv/.installed $@

demo/gallery/gallery.json:
	$(BIN)/composir demo

serve: .venv/.installed-serve demo/gallery/gallery.json
	$(BIN)/composir serve --gallery demo/gallery --log-format text

demo: .venv/.installed
	$(BIN)/composir demo

test: .venv/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-long: .venv/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m long

test-slow: .venv/.installed-dev
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m hypothesis --hypothesis-profile=thorough

check: .venv/.installed-dev lint types layers budget test test-long

format: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/.installed-dev
	$(BIN)/basedpyright

layers: .venv/.installed-dev
	$(BIN)/lint-imports

budget: .venv/.installed-dev
	$(BIN)/python tests/budget.py

bench: .venv/.installed-dev
	$(BIN)/python benchmarks/run.py $(if $(MYNTRA),--myntra $(MYNTRA)) $(if $(NOTO_EMOJI),--noto-emoji $(NOTO_EMOJI))

clean:
	rm -rf .venv build dist demo
