#!/usr/bin/env bash
# Checks the systemd unit: nothing to complain about, and an exposure of at most 1.5.
#   check-unit.sh path/to/data-sources-monitor
set -euo pipefail
binary=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unit="$work/data-sources-monitor.service"
# `verify` wants the binary to be where the unit says; here it is elsewhere.
sed "s|^ExecStart=[^ ]*|ExecStart=$binary|" "$(dirname "$0")/data-sources-monitor.service" > "$unit"
# An unknown key is only a warning for it, with exit code 0: any word is a failure here. Complaints about other units
# of the machine are none of ours.
complaints=$(systemd-analyze verify "$unit" 2>&1 | grep -F data-sources-monitor || true)
if [ -n "$complaints" ]; then
    printf '%s\n' "$complaints"
    exit 1
fi
systemd-analyze security --offline=true --threshold=15 --no-pager "$unit" | tail -n 1
