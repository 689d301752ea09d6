# Every habit of the project is one target. `make demo` and `make test` need nothing before them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NGPU := $(BIN)/ngpu

.PHONY: setup demo test test-all test-faults check format bench serve vendor tree clean

setup: $(STAMP)  ## a virtual environment with pinned dependencies

NATIVE := $(wildcard ngpu_core/engines/native/*) ngpu_core/engines/native_build.py

$(STAMP): requirements.lock pyproject.toml setup.py $(NATIVE)
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed as '$(PYTHON)'; name another with make PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing pinned dependencies (a minute or two; torch is the largest) …"
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP)  ## the main job: service up, demo sweep trained, table and page shown, until Ctrl-C
	$(NGPU) demo

.PHONY: small-sweeps
small-sweeps: $(STAMP)  ## every sweeps/specs/*-small.yaml to its end, one after another: some hours of two cores
	for spec in sweeps/specs/*-small.yaml; do $(NGPU) demo --exit --spec $$spec || exit 1; done

serve: $(STAMP)  ## API, dashboard and scheduler on http://127.0.0.1:8000
	$(NGPU) serve

check: $(STAMP)  ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## let the formatter and the linter fix what they can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(STAMP) check browser  ## check, then every test that is not slow
	$(BIN)/pytest

test-all: $(STAMP) check browser  ## the slow tests too, but for the fault matrix and the cluster
	$(BIN)/pytest -m "not faults and not cluster"

.PHONY: test-cluster
test-cluster: $(STAMP)  ## the Compose project in namespaces of this machine, cut and killed; as root, 15 minutes
	$(BIN)/pytest -m cluster tests/cluster

.PHONY: soak
soak: $(STAMP)  ## 10 quiet minutes, then an hour of random faults in the real service; SOAK="--minutes 5 --seed 2"
	$(BIN)/python -m tests.soak $(SOAK)

.PHONY: browser
browser:  # the browser tests drive Debian's Chromium; without it they are skipped and say so
	@command -v chromium >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && { echo "Installing Chromium for the browser tests …"; apt-get -qq update && apt-get -qq install -y chromium >/dev/null; } ; } \
	  || echo "No Chromium: the browser tests will be skipped (Debian: apt-get install chromium)"

test-faults: $(STAMP)  ## the fault matrix, an hour; renews docs/reliability.md from its record
	NGPU_FAULT_RECORD=docs/reliability.json $(BIN)/pytest tests/faults -m faults
	$(BIN)/python -m tests.faults.page

bench: $(STAMP)  ## every row of the performance table beside its peers, 20 minutes; BENCH="--only …" for some
	$(BIN)/python -m benchmarks.table $(BENCH)

vendor: $(STAMP)  ## fetch the browser's script files again
	$(BIN)/python scripts/vendor_static.py

tree: $(STAMP)  ## renew the README's tree
	$(BIN)/python scripts/readme_tree.py

clean:  ## remove the virtual environment and everything the service wrote
	rm -rf $(VENV) var
