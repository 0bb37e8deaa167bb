# make setup   the environment alone, in .venv        make demo    the bundled avatar speaks → demo.mp4; installs what
#                                                                  that needs, CUDA kernels only where there is a GPU
# make test    all tests                              make check   format, lint, types, arrows, GPU registers
# make test-cpp   the C++ tests once more: under sanitizers, and for 64-bit ARM where a cross compiler is installed
#
# DFANERF_TORCH   what to install as torch, e.g. "torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
# DFANERF_BUILD   auto (default: CUDA where nvcc is found), cuda, cpu or none
# PYTHON          the interpreter to make .venv from; 3.11 or 3.12

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: setup demo demo-environment test test-cpp check native format clean

DFANERF_TORCH ?= torch==2.13.0
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# Python compiles what it imports when it first does; compiling all of torch and scipy here takes half a minute.
INSTALL := $(PIP) install --no-compile
NATIVE_SOURCES := CMakeLists.txt setup.py $(shell find csrc -type f)
CPP_SOURCES := $(shell find csrc examples -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

# Where no GPU is seen and nobody asks for CUDA, the demo does without kernels for it: they take nvcc two minutes.
GPU := $(wildcard /dev/nvidia[0-9]* /dev/nvidiactl /dev/dxg)
FULL := $(VENV)/stamp-native
DEMO_NATIVE := $(if $(GPU)$(DFANERF_BUILD)$(wildcard $(FULL)),$(FULL),$(VENV)/stamp-native-cpu)

setup: $(VENV)/stamp-requirements $(VENV)/stamp-package $(FULL)

$(VENV)/stamp-system: .ci/system-packages
	.ci/system-packages
	mkdir -p $(VENV)
	touch $@

$(VENV)/stamp-python: $(VENV)/stamp-system
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 12) else "setup: Python 3.11 or 3.12 is needed (make PYTHON=...)")'
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/stamp-build: requirements/build.txt $(VENV)/stamp-python
	@echo "setup: installing requirements/build.txt"
	$(INSTALL) -r requirements/build.txt
	touch $@

$(VENV)/stamp-torch: $(VENV)/stamp-build
	@echo "setup: installing $(DFANERF_TORCH)"
	$(INSTALL) $(DFANERF_TORCH)
	touch $@

$(VENV)/stamp-runtime: requirements/runtime.txt $(VENV)/stamp-torch
	@echo "setup: installing requirements/runtime.txt"
	$(INSTALL) -r requirements/runtime.txt
	touch $@

$(VENV)/stamp-package: pyproject.toml $(VENV)/stamp-runtime
	@echo "setup: installing dfanerf_rt"
	DFANERF_BUILD=none $(INSTALL) --no-build-isolation --no-deps -e .
	touch $@

$(VENV)/stamp-requirements: requirements/dev.txt $(VENV)/stamp-package
	@echo "setup: installing requirements/dev.txt"
	$(INSTALL) -r requirements/dev.txt
	touch $@

$(FULL): $(NATIVE_SOURCES) | $(VENV)/stamp-build
	@echo "setup: building the native module"
	$(BIN)/python setup.py -q build_ext --inplace
	touch $@

$(VENV)/stamp-native-cpu: $(NATIVE_SOURCES) | $(VENV)/stamp-build
	@echo "setup: building the native module without CUDA; make setup builds it with CUDA where nvcc is found"
	DFANERF_BUILD=cpu $(BIN)/python setup.py -q build_ext --inplace
	touch $@

native: $(FULL)

demo-environment: $(VENV)/stamp-package $(DEMO_NATIVE)

demo:
	@# The native module is compiled while torch is installed.
	$(MAKE) --no-print-directory -j2 demo-environment
	$(BIN)/dfanerf demo --out demo.mp4

test: setup
	mkdir -p build
	$(BIN)/python setup.py -q build_ext --inplace cpp_tests
	@# What is live keeps time, and so has the machine to itself; the rest shares it, a process a core.
	status=0; \
	$(BIN)/python -m pytest --ignore=tests/live -n 2 --dist worksteal --junitxml=build/test-report.xml || status=1; \
	$(BIN)/python -m pytest tests/live --junitxml=build/test-report-live.xml || status=1; \
	exit $$status

test-cpp: setup
	$(BIN)/python setup.py -q cpp_tests --sanitize=address,undefined
	$(BIN)/python setup.py -q cpp_tests --aarch64

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CPP_SOURCES)
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python tools/check_kernels.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_SOURCES)

clean:
	rm -rf build dfanerf_rt/_C*.so demo.mp4
