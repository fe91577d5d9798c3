# The developer loop. `make help` is its manual; .ci/run calls the same targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Official `ccf` package, the second opinion of the differential tests and benches; its dependencies do not
# mix with ours, so it lives in an environment of its own.
PEER_VENV ?= .venv-peer
PEER_CCF := ccf==7.0.22
# Arguments for pytest, cargo test and a fuzzer: make test-python ARGS="-k receipt"
ARGS ?=
# Fuzz target, seconds to run it, and files to take seeds from (ledgers, receipts; else a demonstration's).
T ?=
SECONDS ?= 60
SEEDS ?=

export TALLYSTICK_PEER_PYTHON ?= $(wildcard $(abspath $(PEER_VENV))/bin/python)

.PHONY: help
help:  ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ------------------------------------------------------------------ getting ready

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

.PHONY: setup
setup: $(BIN)/python  ## create the environment, with an editable build and every tool
	$(BIN)/python -m pip install --quiet --editable '.[dev]'

.PHONY: dev
dev:  ## rebuild the extension module in place, optimised
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --skip-install
	@$(BIN)/python -c 'import tallystick; print("tallystick", tallystick.__version__, "is ready")'

.PHONY: build
build:  ## build the wheel and the source distribution into dist/
	rm -rf dist
	$(BIN)/maturin build --release --sdist --out dist

.PHONY: peer
peer:  ## install the official ccf package beside, for differential tests and benches
	$(PYTHON) -m venv $(PEER_VENV)
	$(PEER_VENV)/bin/python -m pip install --quiet --ignore-requires-python '$(PEER_CCF)' 'cbor2<6'

# Tools of the tests that look at pages; beside the checkout, for they are no part of the package.
BROWSER_TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tallystick-browser-tools

.PHONY: browser-tools
browser-tools:  ## install axe-core and the SARIF schema from npm, for tests (Chromium is a package of the system)
	mkdir -p '$(BROWSER_TOOLS)'
	npm install --prefix '$(BROWSER_TOOLS)' --ignore-scripts --no-audit --no-fund --loglevel=error \
	  axe-core@4.14.1 @microsoft/jest-sarif@1.0.0-beta.0

# ------------------------------------------------------------------ checks without running the tests

.PHONY: lint
lint: lint-python lint-rust deny  ## every static check

.PHONY: lint-python
lint-python:  ## ruff, mypy --strict, stubtest, import-linter
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/stubtest tallystick._native --mypy-config-file pyproject.toml --allowlist tests/stubtest-allowlist.txt
	$(BIN)/lint-imports

.PHONY: lint-rust
lint-rust:  ## rustfmt, clippy with warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

.PHONY: deny
deny:  ## licences, sources, advisories and banned crates (cargo-deny, installed when it is not there)
	@command -v cargo-deny > /dev/null || cargo install --locked --quiet cargo-deny
	cargo deny --log-level error check --hide-inclusion-graph bans licenses sources
	@# Advisories come from a repository that may be out of reach; that is said, not failed.
	cargo deny --log-level error check --hide-inclusion-graph advisories || \
	  { git ls-remote --quiet https://github.com/RustSec/advisory-db HEAD > /dev/null 2>&1 && exit 1 || \
	    echo "SKIPPED: advisories were not checked, the advisory database cannot be reached" >&2; }

.PHONY: format
format:  ## fix layout and imports, Python and Rust
	$(BIN)/ruff check --fix-only --quiet .
	cargo fmt --all

# ------------------------------------------------------------------ tests

.PHONY: test
test: test-rust test-python  ## core first, then everything through Python

.PHONY: test-rust
test-rust:  ## the core's own tests, without an interpreter
	cargo test --workspace --exclude tallystick-py --locked --quiet $(ARGS)

.PHONY: test-python
test-python:  ## pytest, on all cores
	$(BIN)/pytest -n auto --dist worksteal $(ARGS)

.PHONY: fuzz
fuzz:  ## fuzz a target for some seconds: make fuzz T=chunk SECONDS=600
	@test -n "$(T)" || { echo "name a target with T=:"; ls rust/fuzz/fuzz_targets | sed 's/\.rs$$//; s/^/  /'; exit 2; }
	@command -v cargo-fuzz > /dev/null || cargo install --locked --quiet cargo-fuzz
	@# The sanitiser's flags are unstable; this lets the stable compiler take them.
	RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir rust/fuzz --release $(T) -- -max_total_time=$(SECONDS) $(FUZZ_LIMITS) $(ARGS)

# One allocation may not exceed the first. The second is for all: the sanitiser keeps about 1 kB of every thread that ever
# ran, and the target "chunk" starts four for each input.
FUZZ_LIMITS = -malloc_limit_mb=1500 -rss_limit_mb=4096

# Targets that fuzz-all runs at a time. With fewer cores than that each gets less than its seconds.
FUZZ_JOBS ?= $(shell nproc 2> /dev/null || echo 2)
FUZZ_BUILD = $(or $(CARGO_TARGET_DIR),rust/fuzz/target)/$(shell rustc -vV | sed -n 's/^host: //p')/release

.PHONY: fuzz-all
fuzz-all:  ## fuzz every target for some seconds: make fuzz-all SECONDS=3600
	@command -v cargo-fuzz > /dev/null || cargo install --locked --quiet cargo-fuzz
	RUSTC_BOOTSTRAP=1 cargo fuzz build --fuzz-dir rust/fuzz --release
	$(BIN)/python rust/fuzz/seeds.py rust/fuzz/corpus $(SEEDS)
	@mkdir -p rust/fuzz/artifacts
	@ls rust/fuzz/fuzz_targets | sed 's/\.rs$$//' | xargs -P $(FUZZ_JOBS) -I TARGET sh -c \
	  'mkdir -p rust/fuzz/corpus/TARGET && $(FUZZ_BUILD)/TARGET -max_total_time=$(SECONDS) $(FUZZ_LIMITS) -timeout=30 -print_final_stats=1 \
	    -artifact_prefix=rust/fuzz/artifacts/TARGET- rust/fuzz/corpus/TARGET > rust/fuzz/artifacts/TARGET.log 2>&1 \
	    && echo "TARGET: nothing found, $$(sed -n "s/^stat::number_of_executed_units: *//p" rust/fuzz/artifacts/TARGET.log) runs" \
	    || { echo "TARGET: FAILED, see rust/fuzz/artifacts/TARGET.log"; exit 255; }'

.PHONY: bench
bench:  ## speed and memory, side by side with the official package where it is installed
	$(BIN)/python benches/compare.py $(ARGS)

# ------------------------------------------------------------------ documents

.PHONY: docs
docs:  ## write the generated pages anew (findings, schemas, command help)
	$(BIN)/python docs/generate.py

.PHONY: check
check: lint docs-check test  ## all that must hold before a change lands

.PHONY: docs-check
docs-check:  ## fail when a generated page is not current
	$(BIN)/python docs/generate.py --check

.PHONY: ci
ci:  ## what continuous integration runs
	.ci/run

.PHONY: clean
clean:  ## remove what builds and tests leave behind
	rm -rf dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .import_linter_cache
	cargo clean --quiet
