# Two commands make everything: `make demo` and `make test`. Both build .venv first if it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# An empty value switches PYTHONDONTWRITEBYTECODE off: without byte code every start of a process costs seconds.
export PYTHONDONTWRITEBYTECODE :=
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow test-peers bench-ops bench-aot lint format clean

demo: $(STAMP)
	@echo "==> gated demo"
	@$(BIN)/gated demo

test: $(STAMP) lint
	@echo "==> pytest (quick tests)"
	@$(BIN)/python -m pytest -n 2

# The ops beside the loops of fla-core and torch's attention, all in one process of an environment of its own.
bench-ops: .venv-bench/.installed
	@echo "==> every op beside its peer on one thread (about 6 minutes on a quiet machine)"
	@.venv-bench/bin/python -m benchmarks.ops.bench
	@.venv-bench/bin/python -m benchmarks.ops.render

.venv-bench/.installed: $(STAMP) benchmarks/ops/requirements.txt
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@$(BIN)/uv pip install -q -p .venv-bench/bin/python -c constraints.txt -e . -r benchmarks/ops/requirements.txt
	@touch $@

# Compilers for NVIDIA and AMD come with triton: no GPU is needed.
bench-aot: $(STAMP)
	@echo "==> every kernel compiled for sm_80, sm_90, sm_120 and gfx942 (10 to 20 minutes)"
	@TRITON_INTERPRET=0 $(BIN)/python benchmarks/ops/aot.py -o benchmarks/ops/aot.csv

test-slow: $(STAMP)
	@echo "==> pytest (slow tests: the wheel in an empty environment, the whole demo)"
	@$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	@echo "==> ruff, mypy"
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy -p gated.core

format: $(STAMP)
	@$(BIN)/ruff check -q --fix . ; $(BIN)/ruff format -q .

$(STAMP): pyproject.toml constraints.txt
	@echo "==> making $(VENV) with the pinned packages (about 1 minute, 6 GB, from the package index alone)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==0.13.9 || echo "==> no uv here: pip does it"
	@if test -x $(BIN)/uv; then $(BIN)/uv pip install -q -p $(BIN)/python -c constraints.txt -e '.[dev]'; \
	 else $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'; fi
	@touch $(STAMP)

# The official code of others, in an environment of its own: our converted weights must give their outputs.
test-peers: $(STAMP) .venv-peers/.installed
	@echo "==> ours beside the official code"
	@.venv-peers/bin/python -m pytest tests/peers -s

.venv-peers/.installed: constraints.txt tests/peers/requirements.txt
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@$(BIN)/uv pip install -q -p .venv-peers/bin/python -c constraints.txt -e '.[dev]' -r tests/peers/requirements.txt
	@# its own requirements (numpy < 2) are not needed for the one network that is compared
	@$(BIN)/uv pip install -q -p .venv-peers/bin/python --no-deps clearvoice==0.1.2
	@touch $@

clean:
	rm -rf $(VENV) .venv-peers .venv-bench build dist runs .pytest_cache .mypy_cache .ruff_cache
