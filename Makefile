# Every way to build, run and check Weft. `make help` lists the targets.
#
# A test that cannot run here says so and passes: its support code prints `skipped: <reason>` and
# appends the same line to the file that WEFT_SKIP_LOG names, in one write, because tests run side
# by side and a passing test's output is not shown. `make test` empties that file first and ends
# with what it holds. These reasons are spelled the same everywhere, so that they add up:
#   skipped: no data at <path>                counted as missing data
#   skipped: PostgreSQL binaries absent
#   skipped: contracts/node_modules absent    anvil and forge live there, too
#   skipped: Hardhat absent
# WEFT_DATA, always an absolute path under make, is the folder of public chain data and vectors.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run build test test-contracts lint bench bench-executor bench-state bench-batch bench-abuse bench-follow clean check-tools toolchain postgres hardhat

WEFT_DATA ?= ../shared/data
override WEFT_DATA := $(abspath $(WEFT_DATA))
WEFT_SKIP_LOG := $(CURDIR)/target/skipped.log
export WEFT_DATA WEFT_SKIP_LOG

# Arguments for `make run` and the benchmarks (STORE_ARGS for the store's, BATCH_ARGS for the
# batches', ABUSE_ARGS for the floods, FOLLOW_ARGS for the follower), and flags for every cargo build (.ci/run passes --locked).
RUN_ARGS ?=
BENCH_ARGS ?=
STORE_ARGS ?=
BATCH_ARGS ?=
ABUSE_ARGS ?=
FOLLOW_ARGS ?=
CARGO_FLAGS ?=

NODE_STAMP := contracts/node_modules/.weft-setup
# Hardhat, for one test of the tools: apart, because it is large and may be absent.
HARDHAT := sequencer/tests/tools/hardhat
HARDHAT_STAMP := $(HARDHAT)/node_modules/.weft-setup
# forge itself, not its start-up script: npm installs the package of this platform alone. Relative
# to contracts/, for the shell to expand.
FORGE := node_modules/@foundry-rs/forge-*/bin/forge

# A shell function, `install PACKAGE...`: by apt-get where this user may, else it fails.
define INSTALL
install() { \
    local as=; \
    command -v apt-get >/dev/null || return 1; \
    if [ "$$(id -u)" != 0 ]; then sudo -n true 2>/dev/null || return 1; as="sudo -n"; fi; \
    $$as apt-get update && \
    $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$$@"; \
}
endef

# What the tests skipped, by reason. The count of missing data is the last line.
define REPORT
log="$$WEFT_SKIP_LOG"; \
if [ -s "$$log" ]; then echo "skips by reason:"; sort "$$log" | uniq -c; fi; \
echo "skipped for missing data: $$(grep -c "^skipped: no data at" "$$log" || true)"
endef

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: check-tools toolchain $(NODE_STAMP) postgres hardhat ## Install what the other targets need and this machine lacks (any number of times)

run: check-tools toolchain $(NODE_STAMP) ## Start a development node with an L1 of its own (RUN_ARGS="..." is passed on)
	cargo run --release $(CARGO_FLAGS) --bin sequencer -- dev $(RUN_ARGS)

build: check-tools toolchain ## Build the release binaries: target/release/sequencer and batcher
	cargo build --release $(CARGO_FLAGS) --bin sequencer --bin batcher

test: setup test-contracts ## Run every test: contracts, workspace, documentation, and the rules without std
	@mkdir -p target && : >"$$WEFT_SKIP_LOG"
	@trap '$(REPORT)' EXIT; step() { echo "$$*"; "$$@"; }; \
	if command -v cargo-nextest >/dev/null; then \
	    step cargo test --workspace --doc $(CARGO_FLAGS); \
	    step cargo nextest run --workspace $(CARGO_FLAGS); \
	else \
	    step cargo test --workspace --no-fail-fast $(CARGO_FLAGS); \
	fi; \
	step cargo check -p executor --no-default-features --target-dir target/no-std $(CARGO_FLAGS)

test-contracts: setup ## Run the Solidity tests
	cd contracts && $(FORGE) test

lint: setup ## Check formatting, clippy and the documentation; a warning is an error
	cargo fmt --all --check
	cd contracts && $(FORGE) fmt --check
	cargo clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps $(CARGO_FLAGS)

bench: bench-executor bench-state bench-batch ## Run every benchmark

bench-executor: check-tools toolchain ## Measure the executor in every mode (BENCH_ARGS="--help" says what can be chosen)
	cargo run --release $(CARGO_FLAGS) -p executor --example bench -- $(BENCH_ARGS)

bench-state: check-tools toolchain ## Measure the state root (BENCH_ARGS="--help"), then the store (STORE_ARGS="--help")
	cargo run --release $(CARGO_FLAGS) -p executor --example bench_state -- $(BENCH_ARGS)
	cargo run --release $(CARGO_FLAGS) -p sequencer --example bench_store -- $(STORE_ARGS)

bench-batch: check-tools toolchain ## Measure bytes and time per transaction in a batch (BATCH_ARGS="--help")
	cargo run --release $(CARGO_FLAGS) -p batcher --example bench_batch -- $(BATCH_ARGS)

bench-abuse: check-tools toolchain $(NODE_STAMP) ## Measure sends beside floods of JSON-RPC from 200 sockets (ABUSE_ARGS="--help")
	cargo build --release $(CARGO_FLAGS) --bin sequencer
	cargo run --release $(CARGO_FLAGS) -p sequencer --example abuse -- $(ABUSE_ARGS)

bench-follow: check-tools toolchain $(NODE_STAMP) ## Measure how fast a follower catches up from L1 (FOLLOW_ARGS="--help")
	cargo build --release $(CARGO_FLAGS) --bin sequencer
	cargo run --release $(CARGO_FLAGS) -p sequencer --example bench_follow -- $(FOLLOW_ARGS)

clean: ## Remove everything built; what setup installed stays
	cargo clean
	rm -rf contracts/out contracts/cache

check-tools:
	@command -v cargo >/dev/null || { echo "cargo is absent: install Rust, https://rustup.rs" >&2; exit 1; }
	@command -v node >/dev/null && command -v npm >/dev/null || \
	    { echo "node or npm is absent: install Node.js 20 or later, https://nodejs.org" >&2; exit 1; }

# C and no more: MDBX, SQLite and libsecp256k1 are compiled from C, but their crates ship finished
# bindings, so nothing here needs libclang.
toolchain:
	@$(INSTALL); command -v cc >/dev/null || install gcc libc6-dev </dev/null || \
	    { echo "no C compiler: install one that answers to cc" >&2; exit 1; }

$(NODE_STAMP): contracts/package-lock.json | check-tools
	cd contracts && npm ci --no-audit --no-fund </dev/null
	@touch $@

# Hardhat 3 needs a newer Node.js than everything else, so its packages bring one where npm has it for
# this platform. npm leaves out what is optional and does not suit the Node.js that runs it, which is
# Hardhat's native part; that Node.js then adds it. `install`, not `ci`: `ci` demands that the lock
# file names the native part of every platform.
hardhat: check-tools
	@test $(HARDHAT_STAMP) -nt $(HARDHAT)/package-lock.json || ( \
	    cd $(HARDHAT) && add="install --no-save --ignore-scripts --no-audit --no-fund"; \
	    npm $$add && \
	    { ls node_modules/@nomicfoundation/edr-* >/dev/null 2>&1 || \
	      node_modules/node-*/bin/node "$$(npm root -g)/npm/bin/npm-cli.js" $$add; } && \
	    touch node_modules/.weft-setup ) </dev/null || echo "Hardhat absent: its test will be skipped"

postgres:
	@$(INSTALL); present() { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; }; \
	present >/dev/null 2>&1 || install postgresql </dev/null || true; \
	present >/dev/null 2>&1 || echo "PostgreSQL binaries absent: PostgreSQL tests will be skipped"
