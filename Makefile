# What a fresh machine needs: Python 3.11 or later with venv and pip, and make.

PYTHON ?= python3
VENV := .venv
# Processes that run tests side by side.
WORKERS ?= 3
# Windows has the programs of a virtual environment elsewhere.
WINDOWS := $(filter Windows_NT,$(OS))
BIN := $(VENV)/$(if $(WINDOWS),Scripts,bin)
# uv from PyPI makes and reads the lock files.
UV := $(BIN)/uv$(if $(WINDOWS),.exe)
UV_VERSION := 0.13.9

.DEFAULT_GOAL := help
.PHONY: help run test check fast coverage lint types format bench bench-quick fuzz soak docs tables lock clean lm-eval open-webui frozen runtimes screenshots

help:
	@echo "make run     fetch the default model once and complete \"My name is\""
	@echo "make check   lint, and the fast tests, which need no model and no download: under a minute"
	@echo "make coverage  the tests that need no model, and the share of lines that they run"
	@echo "make test    lint, then every test"
	@echo "make types   pyright for the operating systems that this is not, where code depends on them"
	@echo "make lint    ruff, pyright (strict on src/), import-linter"
	@echo "make format  let ruff format the code"
	@echo "make bench   measure against the wheel's llama-server, and write docs/performance.md: 20 minutes, idle machine"
	@echo "make bench-quick  the same with smaller sizes, printed alone: 2 minutes"
	@echo "make fuzz    10,000 random inputs of each kind: frames, answers, headers of models"
	@echo "make soak    clients of every kind for 20 minutes, while engines are killed"
	@echo "make lm-eval  score a small task by lm-eval and directly; it takes 700 MB in the tests' cache"
	@echo "make open-webui  drive Open WebUI's backend against a server; it takes 850 MB in the tests' cache"
	@echo "make frozen  freeze a program by PyInstaller and let it predict: 2 minutes"
	@echo "make runtimes  build llama-server for this processor and for Vulkan, and test both: up to hours"
	@echo "make docs    build the documentation into site/"
	@echo "make screenshots  take the screenshots that the documentation shows: the next make docs has them"
	@echo "make tables  renew docs/dialects.md from the tables of the dialects"
	@echo "make lock    renew the lock files from pyproject.toml"
	@echo "make clean   remove what make made"

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Installs exactly what is locked, then studiolo itself with nothing else.
define install
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r $(1)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
endef

$(VENV)/.run: pyproject.toml requirements.lock | $(UV)
	$(call install,requirements.lock)
	@touch $@

$(VENV)/.dev: pyproject.toml requirements-dev.lock | $(UV)
	$(call install,requirements-dev.lock)
	@touch $@ $(VENV)/.run

run: $(VENV)/.run
	@$(BIN)/studiolo complete "My name is" --max-tokens 64 --stats

test: $(VENV)/.dev
	@$(MAKE) --no-print-directory -j 2 lint types
	$(BIN)/python -m pytest -n $(WORKERS)

# Lint beside the tests. Each worker more costs the collection of all tests once more; those of the HTTP dialects, which
# begin with servers and the types of three official clients, take a third of all. The other folders have no fast test.
check: $(VENV)/.dev
	@$(MAKE) --no-print-directory -j 2 lint fast

fast:
	$(BIN)/python -m pytest -q -n 2 --hypothesis-profile=check \
		$(addprefix --ignore tests/,dialects/http fuzz reliability ui) \
		-m "not model and not web and not slow and not fuzz"

coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) -m "not model" --cov --cov-report=term:skip-covered

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The types as other operating systems have them; `make lint` checks those of this one.
OTHER_SYSTEMS := $(filter-out $(shell uname -s),Linux Darwin Windows)
types: $(addprefix types-,$(OTHER_SYSTEMS))

# The files that use modules which are not alike everywhere.
types-%: $(VENV)/.dev
	$(BIN)/pyright --pythonplatform $* $$(grep -rlE --include '*.py' \
		'^ *(import|from) (os|sys|signal|socket|subprocess|ctypes|fcntl|msvcrt|resource|mmap|select|termios|tty|pwd|psutil)\b|_unix_|add_signal' \
		src/studiolo)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python -m bench

bench-quick: $(VENV)/.dev
	$(BIN)/python -m bench --quick

fuzz: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) -m fuzz --hypothesis-profile=fuzz --timeout=3600

soak: $(VENV)/.dev
	$(BIN)/python -m tests.reliability.soak --json bench/soak.json

lm-eval: $(VENV)/.dev
	$(BIN)/python -m tests.support.evaluation

open-webui: $(VENV)/.dev
	$(BIN)/python -m tests.support.open_webui

frozen: $(VENV)/.dev
	$(BIN)/python -m tests.support.frozen_program

runtimes: $(VENV)/.dev
	nice -n 15 $(BIN)/python -m pytest -s tests/runtimes/real_builds.py tests/runtimes/software_gpu.py

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean

screenshots: $(VENV)/.dev
	$(BIN)/python -m pytest -m screenshots tests/ui

tables: $(VENV)/.dev
	$(BIN)/python -m tests.support.dialect_tables

lock: | $(UV)
	$(UV) pip compile --quiet --universal --generate-hashes --upgrade --extra build \
		--custom-compile-command "make lock" pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --universal --generate-hashes --extra build --extra documents --extra mcp --extra docs --extra postgres --extra ui --extra dev \
		--custom-compile-command "make lock" -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(UV) pip compile --quiet --universal --generate-hashes --upgrade \
		--custom-compile-command "make lock" tests/support/frameworks.in -o requirements-frameworks.lock

clean:
	rm -rf $(VENV) .build dist site .coverage* .pytest_cache .ruff_cache .hypothesis .import_linter_cache
