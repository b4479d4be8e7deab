# make demo            a real small model is migrated before your eyes (HEADLESS=1: without a screen)
# make install         the program alone
# make test            all checks and tests
# make bench           the figures in the README, measured here
# PYTHON=... chooses the interpreter, TORCH=... the torch to install ("torch==2.13.0", a wheel, ...).

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
# With an NVIDIA driver pip chooses a CUDA build; without one the tested version has a small CPU wheel on many indexes.
TORCH ?= $(if $(wildcard /proc/driver/nvidia/version)$(shell command -v nvidia-smi),torch,torch==2.13.0)

PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo install test bench clean

demo: $(VENV)/.installed
	@$(BIN)/llamaduo-tui demo $(if $(HEADLESS),--headless --yes)

install: $(VENV)/.installed

# Five processes use two cores while the others wait for a screen, a clock or another process.
test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses 5 --dist loadfile --no-loadscope-reorder --durations 30

bench: $(VENV)/.installed-test
	LONG=1 $(BIN)/python -m pytest tests/e2e/test_tour.py tests/e2e/test_left_alone.py tests/e2e/test_hostile_service.py
	$(BIN)/python bench/demo.py --check
	$(BIN)/python bench/demo.py --nf4 --check
	$(BIN)/python bench/crash.py --check
	$(BIN)/python bench/verify.py --check --cases 200
	$(BIN)/python bench/powercut.py --check --points 50
	$(BIN)/python bench/weeks.py --check
	$(BIN)/python bench/local.py --check
	$(BIN)/python bench/memory.py --check
	$(BIN)/python bench/service.py --check
	$(BIN)/python bench/providers.py --check
	$(BIN)/python bench/weekend.py --check
	$(BIN)/python bench/exports.py --check
	$(BIN)/python bench/data.py --check
	$(BIN)/python bench/scale.py --check
	$(BIN)/python bench/verdict.py --check
	$(BIN)/python bench/sequence.py --check
	$(BIN)/python bench/canary.py --check
	$(BIN)/python bench/gate.py --check
	$(BIN)/python bench/door.py --check
	$(BIN)/python bench/selective.py --check
	$(BIN)/python bench/power.py --check
	$(BIN)/python bench/regressed.py --check
	$(BIN)/python bench/reviews.py --check
	$(BIN)/python bench/directed.py --check
	$(BIN)/python bench/bursts.py --check
	$(BIN)/python bench/heartbeat.py --check
	$(BIN)/python bench/review_list.py --check
	$(BIN)/python bench/app.py --check

$(VENV)/bin/python:
	$(if $(PYTHON),,$(error Python 3.11 or newer is needed; name one with PYTHON=...))
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: $(VENV)/bin/python
	$(PIP) '$(TORCH)'
	@touch $@

# llama.cpp's wheels are not there for every machine: without them the program works, and the demo says what it lacks.
$(VENV)/.installed: pyproject.toml $(VENV)/.torch
	@$(PIP) --editable '.[gguf]' 2>$(VENV)/gguf.log || $(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(VENV)/.torch
	$(PIP) --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
