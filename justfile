# `just` lists the recipes. `.ci/run` runs all of them in order.

_list:
    @just --list --unsorted

# Formatting and clippy
check:
    cargo fmt --all --check
    cargo clippy --locked --workspace --all-targets -- -D warnings

# All tests that this machine can run; prints which were skipped and what to install
test *args:
    @rm -f target/skipped-tests
    cargo test --locked {{ args }}
    @if [ -s target/skipped-tests ]; then echo; echo 'Skipped:'; sort target/skipped-tests | uniq -c; fi

# Tests with PostgreSQL; fails where the server's programs are missing
test-pg *args:
    REQUIRE_POSTGRES=1 cargo test --locked --test it {{ args }}

# Licences, duplicate versions and sources of the dependencies (needs cargo-deny)
deny:
    cargo deny --offline check bans licenses sources

# API documentation, without warnings
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# The program between stand-in servers: a day of incidents in two minutes
demo:
    cargo run --release --locked -- demo

# Benchmarks: daemon, connectors, fronts, sqlite, postgres (see docs/benchmarks.md)
bench name *args:
    cargo bench --locked --bench {{ name }} -- {{ args }}

# The binary as it is released: static, stripped; prints its path
release:
    #!/usr/bin/env bash
    set -euo pipefail
    host=$(rustc -vV | sed -n 's/^host: //p')
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile dist --target "$host"
    echo "target/$host/dist/data-sources-monitor"
