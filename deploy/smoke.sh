#!/usr/bin/env bash
# Runs the static binary alone in an empty root as an unprivileged user, like the image: help, a status page with an
# incident, the banner for it, readiness, a clean stop. It replaces a test of the image where images cannot be built.
#   smoke.sh path/to/static/data-sources-monitor      (as root, for chroot; needs python3 for the status page)
set -euo pipefail
binary=$1
work=$(mktemp -d)
root=$work/root
page=
daemon=
finish() {
    for pid in $daemon $page; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT
fail() {
    cat "$work"/*.out 2>/dev/null || true
    echo "smoke: $*"
    exit 1
}
# Runs a command until it succeeds, for at most 30 s.
until_true() {
    for _ in $(seq 150); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    fail "timed out: $*"
}

if ldd "$binary" 2>/dev/null | grep -q '=>'; then fail "$binary is not static"; fi

# A status page with an incident.
mkdir -p "$work/page/api/v2"
echo '{"status": {"indicator": "major", "description": "Partial System Outage"}}' > "$work/page/api/v2/status.json"
python3 -u -m http.server --bind 127.0.0.1 --directory "$work/page" 0 > "$work/page.out" 2>&1 &
page=$!
until_true grep -q 'port [0-9]' "$work/page.out"
address=http://page.test:$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$work/page.out")

# The files of the image and nothing else; only /data is writable.
mkdir -p "$root/etc/ssl/certs" "$root/data" "$root/monitors" "$root/connectors" "$root/tenants" "$root/channels"
cp "$binary" "$root/data-sources-monitor"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo '127.0.0.1 localhost page.test' > "$root/etc/hosts"
# A static glibc loads the NSS modules that this file names, possibly from a machine with another glibc version, and
# crashes. The program must not read it.
echo 'hosts: nowhere [UNAVAIL=return] files' > "$root/etc/nsswitch.conf"
printf 'name = "Smoke"\nurl = "%s"\n' "$address" > "$root/monitors/smoke.toml"
chmod -R a+rX "$work"
chown 65532:65532 "$root/data"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# Without the environment of this machine, like the image.
inside=(
    env -i DATA_DIR=/data LOG_FILE=off MONITORS_DIR=/monitors CONNECTORS_DIR=/connectors TENANTS_DIR=/tenants CHANNELS_DIR=/channels "LISTEN=0.0.0.0:$port"
    "$(PATH=$PATH:/usr/sbin command -v chroot)" --userspec=65532:65532 "$root" /data-sources-monitor
)
"${inside[@]}" --help > /dev/null
"${inside[@]}" --version
"${inside[@]}" validate
"${inside[@]}" run 2> "$work/log.out" &
daemon=$!
until_true "${inside[@]}" healthcheck
until_true grep -q 'WARNING - Issues detected: Smoke: Partial System Outage (Severity: major)' "$work/log.out"
until_true grep -q 'Preview: would set banner: error "Smoke: Partial System Outage"' "$work/log.out"
kill -TERM "$daemon"
wait "$daemon" || fail "the daemon exited with $?"
daemon=
grep -q ' - Stopped\.$' "$work/log.out" || fail "the log does not end with 'Stopped.'"
outside=$(find "$root" -user 65532 -not -path "$root/data" -not -path "$root/data/*")
[ -z "$outside" ] || fail "wrote outside /data: $outside"
cat "$work/log.out"
du -h --apparent-size "$binary" | awk '{ print "smoke: passed; the static binary has " $1 "B" }'
