# make demo, make test: each does all of its own set-up. See: make help
PYTHON ?= python3
VENV ?= .venv
# A further package index, for example https://download.pytorch.org/whl/cpu, where torch has no CUDA.
TORCH_INDEX ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/installed
LOCK := requirements/lock.txt
# One thread a process and no busy waiting: pytest itself runs one process a core.
TEST_ENV := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PIP_REQUIRE_VIRTUALENV=1
TESTS ?= tests projects

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types lock clean

help:  ## Show this help
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10
	@echo
	@echo 'On Linux without a GPU, spare yourself 2 GB of CUDA libraries:'
	@echo '  make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu'
	@echo 'Another Python (3.10 to 3.12): make demo PYTHON=python3.12'

install: $(STAMP)  ## Make the virtual environment and install the pinned packages

# Nothing is installed again until the pinned set or the package's metadata changes.
$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { \
		echo 'error: $(PYTHON) is not a Python 3.10, 3.11 or 3.12; name one: make PYTHON=python3.12' >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r $(LOCK)
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP)  ## Train, test and search a small rendered corpus; leaves work_dirs/demo/report.html
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python tools/demo.py

test: $(STAMP)  ## Run the test suite (one part of it: make test TESTS=tests/models)
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

lint: $(STAMP)  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## Check type hints
	$(BIN)/mypy

lock: $(STAMP)  ## Resolve requirements/lock.txt anew, keeping what need not change
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml requirements/tested.in --extra dev --universal \
		--python-version 3.10 --fork-strategy requires-python --no-annotate --quiet \
		--custom-compile-command 'make lock' --output-file $(LOCK)
	@# What only torch's CUDA build asks for is left to torch, or its CPU build would bring it too.
	sed -i -E '/^(nvidia|cuda|triton)[a-z0-9-]*==/d' $(LOCK)

clean:  ## Remove the virtual environment and all caches; keeps data and work_dirs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
