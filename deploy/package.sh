#!/usr/bin/env bash
# Builds the Debian package of a static binary and prints its path (needs cargo-deb).
#   package.sh path/to/static/data-sources-monitor [FOLDER]      (FOLDER: target/package)
set -euo pipefail
cd "$(dirname "$0")/.."
name=data-sources-monitor
folder=${2:-target/package}
# The assets that Cargo.toml lists and that are not in the repository.
made=target/package
mkdir -p "$made" "$folder"
install -m 755 "$1" "$made/$name"
for shell in bash zsh fish; do "$made/$name" completions "$shell" > "$made/$name.$shell"; done
"$made/$name" man | gzip -9n > "$made/$name.1.gz"
# A package must not install into /usr/local.
sed "s|/usr/local/bin/|/usr/bin/|g" "deploy/$name.service" > "$made/$name.service"
# The binary is already stripped, and built for the architecture of this machine.
cargo deb --quiet --no-build --no-strip --package "$name" --output "$folder/"
