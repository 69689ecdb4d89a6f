#!/usr/bin/env bash
# Builds the Debian package and checks its contents.
#   package.sh path/to/static/data-sources-monitor      (needs cargo-deb, dpkg)
set -uo pipefail
cd "$(dirname "$0")/../.."
. deploy/checks/lib.sh
trap 'rm -rf "$work"' EXIT
name=data-sources-monitor
deb=$(bash deploy/package.sh "$(realpath "$1")" "$work") || exit 1
dpkg-deb --raw-extract "$deb" "$work/root" || exit 1
cd "$work/root" || exit 1

check "control fields" "$(dpkg-deb --field "$deb" Package Architecture Depends | tr '\n' ' ')" \
    "^Package: $name Architecture: $(dpkg --print-architecture) Depends: ca-certificates $"
check "an upgrade keeps the settings file" "$(cat DEBIAN/conffiles)" "^/etc/$name/env$"
check "... only root can read it" "$(stat -c %a etc/$name/env)" '^600$'
check "... and every line of it is a comment" "$(grep -cvE '^(#|$)' etc/$name/env)" '^0$'
check "an upgrade restarts a running unit" "$(cat DEBIAN/postinst)" "try-restart $name.service"
check "removal stops it" "$(cat DEBIAN/prerm)" "stop $name.service"
check "a first installation starts nothing" "$(grep -cE 'invoke start|enable --now' DEBIAN/postinst)" '^0$'
check "the binary runs" "$(env -i usr/bin/$name --version 2>&1)" "^$name [0-9]+\.[0-9]+\.[0-9]+"
unit=usr/lib/systemd/system/$name.service
check "the unit starts the packaged binary" "$(grep ^ExecStart= $unit)" "^ExecStart=/usr/bin/$name run$"
check "... and reads the packaged settings" "$(grep ^EnvironmentFile= $unit)" "^EnvironmentFile=-/etc/$name/env$"
check "no path of /usr/local" "$(grep -c /usr/local $unit)" '^0$'
check "bash completes the command" \
    "$(bash -c ". usr/share/bash-completion/completions/$name && complete -p $name" 2>&1)" "^complete .* $name$"
check "zsh completes the command" "$(head -n 1 usr/share/zsh/vendor-completions/_$name)" "^#compdef $name$"
check "fish completes the command" "$(cat usr/share/fish/vendor_completions.d/$name.fish)" "^complete .*--command $name "
check "the manual page" "$(gzip -dc usr/share/man/man1/$name.1.gz 2>&1)" "^.TH $name 1"
check "licence" "$(cat usr/share/doc/$name/copyright)" 'Permission is hereby granted'
for file in README.md CHANGELOG.md docs/operations.md examples/monitors/github.toml examples/connectors/statuscake.toml; do
    check "$file" "$(stat -c %s usr/share/doc/$name/$file 2>&1)" '^[1-9][0-9]*$'
done
(cd usr/share/doc/$name/examples && MONITORS_DIR=monitors CONNECTORS_DIR=connectors DATA_DIR="$work/data" LOG_FILE=off \
    "$work/root/usr/bin/$name" validate) > "$work/validate.log" 2>&1
check "the examples are valid" "$(cat "$work/validate.log")" 'configuration is valid'
exit $failed
