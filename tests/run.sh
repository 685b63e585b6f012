#!/bin/sh
# The whole test suite: what it needs, the build, formatting, lints, tests. Arguments go to the test runner.
set -eu
cd "$(dirname "$0")/.."
tests/setup.sh
cargo build --release
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
if cargo nextest --version >/dev/null 2>&1; then
	cargo nextest run --workspace "$@"
else
	cargo test --workspace "$@"
fi
