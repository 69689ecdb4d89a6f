#!/usr/bin/env bash
# Checks the systemd unit: `systemd-analyze` reports no problem and an exposure level of at most 1.5.
#   check-unit.sh path/to/data-sources-monitor
set -euo pipefail
binary=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unit="$work/data-sources-monitor.service"
# `verify` requires the binary at the path in the unit; here it is elsewhere.
sed "s|^ExecStart=[^ ]*|ExecStart=$binary|" "$(dirname "$0")/data-sources-monitor.service" > "$unit"
# `verify` exits with 0 even if it warns about an unknown key, so any output about this unit is a failure. Output about
# other units of the machine is ignored.
warnings=$(systemd-analyze verify "$unit" 2>&1 | grep -F data-sources-monitor || true)
if [ -n "$warnings" ]; then
    printf '%s\n' "$warnings"
    exit 1
fi
systemd-analyze security --offline=true --threshold=15 --no-pager "$unit" | tail -n 1
