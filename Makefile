# `make install` is for use, `make demo` for a first look, `make test` for changes, `make wheel` for other machines (dist/). Each creates .venv and installs what it needs, once.
# `make install-mmlab` adds mmdet and mmseg; mmcv's operators are compiled once for each torch, into a folder of $(WHEELS).
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
WHEELS ?= $(HOME)/.cache/nni-plugins/wheels
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 $(BIN)/python -m pip install --quiet --constraint constraints.txt

# One more than there are cores, for some tests wait for processes that they start; four at most.
WORKERS := $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 3 ? n + 1 : 4)))

.PHONY: install demo test test-slow lint site wheel install-mmlab clean

install: $(VENV)/.use

demo: $(VENV)/.use
	$(BIN)/python -m nni_plugins.demo

test: $(VENV)/.dev $(VENV)/.mmlab lint site
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.dev $(VENV)/.mmlab
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

site: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

wheel: $(VENV)/.core
	rm -rf build/lib build/bdist.*
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

$(VENV)/.core: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.10, 3.11 or 3.12 is needed, but none is on the PATH."; echo "Install one, or name it: make demo PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: $(PYTHON) cannot make a virtual environment (on Debian and Ubuntu: apt-get install python3-venv)."; exit 2; }
	$(PIP) 'setuptools>=80,<81' wheel
	$(PIP) --no-build-isolation --editable .
	touch $@

$(VENV)/.use: $(VENV)/.core
	$(PIP) --no-build-isolation --editable '.[timm,export]'
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --no-build-isolation --editable '.[dev]'
	touch $@

install-mmlab: $(VENV)/.core
	$(BIN)/python -m nni_plugins.evaluators.mmlab.install --wheels "$(WHEELS)" --constraint constraints.txt
	touch $(VENV)/.mmlab

$(VENV)/.mmlab: $(VENV)/.core evaluators/mmlab/install.py
	$(MAKE) install-mmlab

clean:
	rm -rf $(VENV) runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache
