#!/usr/bin/env bash
# Runs the static binary alone in an empty, read-only root as a user without rights, as the image does: help, preview,
# readiness, a clean stop. Where images can't be built this stands for one.
#   smoke.sh path/to/static/data-sources-monitor
set -euo pipefail
binary=$1
root=$(mktemp -d)
pid=
finish() {
    if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi
    rm -rf "$root"
}
trap finish EXIT

if ldd "$binary" 2>/dev/null | grep -q '=>'; then
    echo "$binary is not static"
    exit 1
fi
mkdir -p "$root/etc/ssl/certs" "$root/data"
cp "$binary" "$root/data-sources-monitor"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
chown -R 65532:65532 "$root/data"
chmod 755 "$root"

port=$((20000 + $$ % 20000))
inside() {
    chroot --userspec=65532:65532 "$root" /data-sources-monitor "$@"
}
export DATA_DIR=/data LOG_FILE=off LISTEN=127.0.0.1:$port SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
inside --version
inside validate
chroot --userspec=65532:65532 "$root" /data-sources-monitor run 2> "$root.log" &
pid=$!
ready=no
for _ in $(seq 60); do
    if inside healthcheck >/dev/null 2>&1; then ready=yes; break; fi
    sleep 0.5
done
cat "$root.log"
rm -f "$root.log"
[ "$ready" = yes ] || { echo "never became ready"; exit 1; }
kill -TERM "$pid"
wait "$pid"
pid=
ls -l "$binary" | awk '{ printf "static binary: %.1f MB\n", $5 / 1e6 }'
echo "smoke: fine"
