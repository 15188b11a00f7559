# Targets set up what they need. PYTHON picks the interpreter (3.11 or newer); TORCH_ARGS goes to pip when it
# installs torch, e.g. TORCH_ARGS='--index-url https://download.pytorch.org/whl/cpu' for the small build without CUDA.
PYTHON     ?= python3
TORCH_ARGS ?=
ARGS       ?=

VENV  := .venv
PY    := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PEERS := hftbacktest vectorbt

.PHONY: help venv run test coverage test-all crash lint format audit bench peers gpu-check gpu-there validate docs dist lock clean

help:
	@echo "make run        install, then replay a synthetic market (ARGS='mode=... source=...' to change it)"
	@echo "make test       install, then every example in a docstring and the tests"
	@echo "make coverage   the tests again, with a coverage floor"
	@echo "make test-all   the slow tests too"
	@echo "make crash      200 processes killed at each venue while their orders fly (ARGS='--venue kraken --seed 2')"
	@echo "make lint       ruff, mypy, import contract, bandit, secret scan, audit where there is a network"
	@echo "make audit      known vulnerabilities of the locked packages (asks the network)"
	@echo "make bench      speed against the peers; make peers builds their environments"
	@echo "make gpu-check  tests, parity and speed on a CUDA device (PY=python3 CAPTURES=DIR ARGS=--keep)"
	@echo "make validate   every formula and the whole system against known answers, in one table"
	@echo "make docs       documentation as a site into docs/_build, API pages in it; a broken link fails"
	@echo "make dist       sdist and wheel into dist/"
	@echo "make lock       resolve and hash all packages again"
	@echo "make clean      everything that was built, .venv too"

venv: $(STAMP)

# The lock first, hashes checked. torch after it, because its builds (CPU, CUDA) differ by machine and so can't be
# hashed once for all; what torch itself needs beyond CUDA is in the lock. pip would turn the sources into bytecode on
# one processor, a third of all its time; compileall does it on all of them.
$(STAMP): pyproject.toml requirements.txt requirements-torch.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Schwabot needs Python 3.11 or newer, '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "This Python can't make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile $(TORCH_ARGS) -r requirements-torch.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(PY) -W ignore -m compileall -qq -j 0 $(VENV)/lib  || true  # some packages bring templates that are no Python
	@touch $@

run: venv
	$(PY) -m schwabot.run $(ARGS)

# One process more than processors, because tests wait for exchanges and clocks; five at most: more would compile the
# same kernels side by side the first time. The examples go first: what they compile, the tests need too.
PARALLEL = --numprocesses $(shell $(PY) -c 'import os; print(min(4, os.cpu_count() or 1) + 1)') --dist worksteal
# torch's threads of several processes would mostly spin, waiting for one another.
ALONE := OMP_NUM_THREADS=1

test: venv
	$(ALONE) $(PY) -m pytest schwabot kernels --doctest-modules --quiet $(PARALLEL)
	$(ALONE) $(PY) -m pytest $(PARALLEL)

# Apart from make test, which it would make half as long again.
coverage: venv
	$(ALONE) $(PY) -m pytest --cov --cov-report=term $(PARALLEL)

test-all: venv
	$(PY) -m pytest -m "not gpu and not bench" $(ARGS)

crash: venv
	PYTHONPATH=.:kernels $(PY) -m tests.execution.crash $(ARGS)

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/bandit --quiet --recursive --configfile pyproject.toml schwabot kernels run_schwabot.py
	git ls-files -z | xargs -0 $(VENV)/bin/detect-secrets-hook --no-verify --baseline .secrets.baseline
	$(PY) deploy/audit.py --offline-ok

format: venv
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

audit: venv
	$(PY) deploy/audit.py

bench: venv
	$(PY) -m benchmarks $(ARGS)

# Peers need other versions of numpy and numba than Schwabot: one environment each, run as subprocesses.
peers: $(PEERS:%=.venv-peers/%/.installed)

.venv-peers/%/.installed: benchmarks/peers/%.txt
	$(PYTHON) -m venv .venv-peers/$*
	.venv-peers/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# On a machine with an NVIDIA GPU. PY=python3 takes an interpreter that has what benchmarks/gpu_check.py needs.
CAPTURES ?=

gpu-check: $(if $(filter $(VENV)/bin/python,$(PY)),$(if $(findstring --keep,$(ARGS)),,gpu-there) venv)
	CAPTURES="$(CAPTURES)" PYTHONPATH=.:kernels $(PY) -m benchmarks.gpu_check $(ARGS)

# Before minutes are spent on .venv. WSL has no /proc/driver.
gpu-there:
	@test -e /proc/driver/nvidia || command -v nvidia-smi >/dev/null || { \
	  echo "no NVIDIA driver is installed here (neither /proc/driver/nvidia nor nvidia-smi): there is nothing to check" >&2; exit 2; }

validate: venv
	$(PY) -m tests.validate $(ARGS)

docs: venv
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build

# The wheel is made of the sdist. What they hold is checked by tests/end_to_end/test_wheel.py.
dist: venv
	rm -rf dist
	$(PY) -m build --no-isolation

# One resolution for Linux, macOS and Windows, Python 3.11 and newer.
UV      := uv==0.13.9
COMPILE := $(VENV)/bin/uv pip compile --no-config --upgrade --quiet --universal --python-version 3.11 --generate-hashes \
           --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
# What a CUDA build of torch brings along and a CPU build does not.
CUDA := torch triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
        nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
        nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx

lock: venv
	$(PY) -m pip install --quiet --disable-pip-version-check $(UV)
	$(COMPILE) pyproject.toml --extra dev --constraint requirements-torch.txt $(CUDA:%=--no-emit-package %) --output-file requirements.txt
	for peer in $(PEERS); do $(COMPILE) benchmarks/peers/$$peer.in --output-file benchmarks/peers/$$peer.txt || exit 1; done

clean:
	rm -rf $(VENV) .venv-peers build dist docs/_build htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  .import_linter_cache .benchmarks
	find schwabot kernels tests -name __pycache__ -prune -exec rm -rf {} +
