# `just` lists the recipes. `.ci/run` runs those that check something, and installs what they need.

_list:
    @just --list --unsorted

# Formatting and clippy
check:
    cargo fmt --all --check
    cargo clippy --locked --workspace --all-targets -- -D warnings

# All tests that can run on this machine; prints which were skipped and what to install
test *args:
    @rm -f target/skipped-tests
    cargo test --locked {{ args }}
    @if [ -s target/skipped-tests ]; then echo; echo 'Skipped:'; sort target/skipped-tests | uniq -c; fi

# Integration tests; fails if PostgreSQL is not installed
test-pg *args:
    REQUIRE_POSTGRES=1 cargo test --locked --test it {{ args }}

# Licences, duplicate versions and sources of dependencies (needs cargo-deny)
deny:
    cargo deny --offline check bans licenses sources

# API documentation; warnings are errors
doc:
    RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --no-deps --document-private-items

# The demo: a day of incidents in two minutes, with stand-in servers
demo:
    cargo run --release --locked -- demo

# Debian package of the release binary; prints its path (needs cargo-deb)
package:
    bash deploy/package.sh "$(just release | tail -n 1)"

# Benchmarks: daemon, connectors, fronts, sqlite, postgres (see docs/benchmarks.md)
bench name *args:
    cargo bench --locked --bench {{ name }} -- {{ args }}

# Release binary: static, stripped; prints its path
release:
    #!/usr/bin/env bash
    set -euo pipefail
    host=$(rustc -vV | sed -n 's/^host: //p')
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile dist --target "$host"
    echo "target/$host/dist/data-sources-monitor"
