# `make help` lists what there is to do. Everything runs in .venv, which is made on first use.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.tools/bin:$(PATH)

# What may be set: make lab LAB_PLATFORM=local, make simulate SEEDS=1000 FIRST_SEED=7, make PYTHON=/opt/python3.12 .venv
PYTHON ?=
SEEDS ?= 200
FIRST_SEED ?=
BENCH ?=
FUZZ_SECONDS ?= 60

CODE := raft_zmq client tests examples
VENV := .venv/installed
# Python takes the package from there rather than from the checkout, the nodes that it starts too.
COMPILED := PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/build/compiled:$(CURDIR) PYTEST_ADDOPTS="-o pythonpath= --import-mode=append"

.PHONY: help lab test check test-code test-compiled test-of-compiled test-lab test-kind tools compiled coverage simulate golden fuzz bench clean .venv

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: $(VENV) ## run the whole lab; LAB_PLATFORM=auto|kind|kubernetes|local says where
	@ansible-playbook site.yml

test: check test-code test-compiled test-lab test-kind ## run every check and test that this machine can run

check: $(VENV) ## format, lint, types, import contracts, YAML, Ansible
	ruff format --check $(CODE)
	ruff check $(CODE)
	mypy
	lint-imports
	yamllint .
	ansible-lint -q

test-code: $(VENV) ## unit, simulation and integration tests
	pytest -n 2 --dist worksteal tests/unit tests/simulation
	pytest tests/integration
	$(MAKE) --no-print-directory coverage

coverage: $(VENV) ## report which lines of the core fifty seeds of the simulator reach
	@mkdir -p build
	coverage run --source raft_zmq.core -m tests.simulation --seeds 50 --jobs 1 >build/coverage-simulation.txt
	coverage report --show-missing --skip-covered

test-lab: $(VENV) tools ## tests of the chart and of the playbooks
	helm lint --strict chart
	pytest -n 2 --dist worksteal -m "not kind" tests/chart tests/ansible tests/infra

test-compiled: $(VENV) ## the tests of Raft itself, once more against the compiled build, where it can be compiled
	@if cc --version >/dev/null 2>&1 && python -c 'import sysconfig, pathlib; \
	  exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())'; then \
	  $(MAKE) --no-print-directory compiled test-of-compiled; \
	else \
	  echo "test-compiled: no C compiler, or no headers of Python, so the tests of the compiled build are left out"; \
	fi

test-of-compiled:
	@$(COMPILED) python -c 'import raft_zmq.core.raft as raft; assert raft.__file__.endswith(".so"), raft.__file__'
	$(COMPILED) pytest -m "not interpreted" -n 2 --dist worksteal tests/unit tests/simulation
	$(COMPILED) pytest -m "not interpreted" tests/integration/test_failover.py tests/integration/test_linearizable.py tests/integration/test_durability.py

test-kind: $(VENV) ## the lab on kind and the tests against it, where a container engine answers
	@if docker version >/dev/null 2>&1; then \
	  LAB_PLATFORM=kind ansible-playbook site.yml && pytest -m kind tests; \
	else \
	  echo "test-kind: no container engine answers, so the tests on kind are left out"; \
	fi

tools: $(VENV) ## find kind, helm and kubectl, or fetch the pinned ones into .tools/bin
	@ansible-playbook playbooks/preflight.yml -e lab_platform=local -e lab_tools_needed=true

simulate: $(VENV) ## random faults under SEEDS= seeds from FIRST_SEED= on
	python -m tests.simulation --seeds $(SEEDS) $(if $(FIRST_SEED),--first-seed $(FIRST_SEED)) $(if $(filter 1,$(SEEDS)),--trace --shrink)

golden: $(VENV) ## write the golden scripts' output anew; read the diff before you commit it
	python -m tests.simulation.golden --write

fuzz: $(VENV) ## run the coverage-guided fuzzer over each reader of foreign bytes for FUZZ_SECONDS=
	python -m tests.fuzz --seconds $(FUZZ_SECONDS)

bench: $(VENV) ## measure the table of docs/performance.md; BENCH="--quick --only compare,idle" for a part of it
	@python -m tests.performance $(BENCH)

compiled: $(VENV) ## build the package into build/compiled, the modules on a write's way compiled by mypyc
	@rm -rf build/compiled build/mypyc build/lib.* build/temp.*
	COMPILE_RAFT_ZMQ=1 pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --target build/compiled .

clean: ## remove what was built, gathered and cached; `ansible-playbook playbooks/destroy.yml` ends a lab first
	rm -rf build artifacts .tools .venv .ansible .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv: $(VENV) ## install what the lab and its tests need

$(VENV): requirements.txt pyproject.toml
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make: expected Python 3.11 or newer, found $$(python3 --version 2>&1 || true)." \
	    "Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 2; \
	fi; \
	echo "Installing what the lab needs into .venv, about a minute"; \
	"$$python" -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.txt
	@touch $@
