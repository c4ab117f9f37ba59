# Two commands do everything on a fresh machine: `make quickstart` and `make test`.
#   PYTHON=python3.12       another interpreter (3.11 to 3.13)
#   TORCH=2.13.0            the version of torch; its CPU build is taken where the index offers one
#   TORCH_INDEX=URL         an index to take torch from, for example one with CPU or CUDA builds
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
  $$p -c 'import sys; raise SystemExit(not (3,11) <= sys.version_info[:2] <= (3,13))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
TORCH ?= 2.13.0
TORCH_INDEX ?=
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
TORCH_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))

.PHONY: help quickstart setup test check lint clean

help:
	@echo "make quickstart   set up and run the quickstart sweep (about 2 minutes after installation)"
	@echo "make test         set up and run the whole suite"
	@echo "make check        ruff, mypy and the fast tests (under a minute)"
	@echo "make clean        remove the virtual environment; results in runs/ stay"

quickstart: setup
	$(BIN)/smartad sweep sweeps/quickstart.yaml

setup: $(STAMP)

# torch first: asked for by another package, it would come with gigabytes of CUDA.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "smartad needs Python 3.11, 3.12 or 3.13; name one with PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(TORCH_INSTALL) "torch==$(TORCH)+cpu" 2>$(VENV)/torch.log || { \
	  grep -q "No matching distribution" $(VENV)/torch.log || { cat $(VENV)/torch.log >&2; exit 1; }; \
	  echo "this index offers no CPU build of torch: taking torch $(TORCH) as it is (name another index with TORCH_INDEX=...)"; \
	  $(TORCH_INSTALL) "torch==$(TORCH)"; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

test: setup lint
	$(BIN)/python -m pytest -n 3 --dist worksteal

check: setup lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV)
