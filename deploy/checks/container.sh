#!/usr/bin/env bash
# Builds the image from the Dockerfile and runs it. A stub `cargo` copies the binary that is already built, so the check
# covers everything in the Dockerfile except compilation and needs no registry.
#   container.sh path/to/static/data-sources-monitor      (as root; needs podman, buildah, runc, debootstrap, python3)
# Exit: 0 passed, 1 failed, 77 skipped because this machine cannot run containers.
set -uo pipefail
cd "$(dirname "$0")/../.."
. deploy/checks/lib.sh
binary=$(realpath "$1")
root=${CHECKS_DIR:-$PWD/target/checks}/systemd
export CONTAINERS_CONF="$work/containers.conf" CONTAINERS_STORAGE_CONF="$work/storage.conf"
# runc, because crun supports only cgroups v2. The limits must not exceed those of this machine.
printf '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n[containers]\ndefault_ulimits = ["nofile=%s:%s", "nproc=4096:4096"]\n' \
    "$(ulimit -n)" "$(ulimit -n)" > "$CONTAINERS_CONF"
printf '[storage]\ndriver = "vfs"\nrunroot = "%s/run"\ngraphroot = "%s/graph"\n' "$work" "$work" > "$CONTAINERS_STORAGE_CONF"

finish() {
    podman rm --all --force > /dev/null 2>&1
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap finish EXIT

debian "$root" systemd,systemd-sysv,dbus,ca-certificates,procps || exit 77
base=$work/base
mkdir -p "$base/usr/local/bin" "$base/opt" "$base/tmp" "$base/etc/ssl"
cp -a "$root"/{bin,lib,lib64} "$base/" 2>/dev/null
mkdir -p "$base/usr/bin" "$base/usr/lib"
for program in dash sh mkdir cp sed; do cp -a "$root/usr/bin/$program" "$base/usr/bin/"; done
cp -a "$root"/usr/lib/x86_64-linux-gnu/{libc.so.6,libselinux.so.1,libpcre2-8.so.0*,libacl.so.1*,libattr.so.1*} \
    "$base/usr/lib/" 2>/dev/null
mkdir -p "$base/usr/lib64" "$base/etc/ssl/certs"
cp -L "$root/usr/lib64/ld-linux-x86-64.so.2" "$base/usr/lib64/"
cp /etc/ssl/certs/ca-certificates.crt "$base/etc/ssl/certs/"
cp "$binary" "$base/opt/built"
printf '#!/bin/sh\necho "host: x86_64-unknown-linux-gnu"\n' > "$base/usr/local/bin/rustc"
printf '#!/bin/sh\nd=target/x86_64-unknown-linux-gnu/dist; mkdir -p $d && cp /opt/built $d/data-sources-monitor\n' \
    > "$base/usr/local/bin/cargo"
chmod +x "$base"/usr/local/bin/*
tar -C "$base" -cf "$work/base.tar" .
podman import --quiet -c 'ENV PATH=/usr/local/bin:/usr/bin:/bin' -c 'ENV LD_LIBRARY_PATH=/usr/lib' \
    "$work/base.tar" docker.io/library/rust:1.95-bookworm > "$work/import.log" 2>&1 || { tail -n 3 "$work/import.log"; exit 77; }
podman run --rm --network none --entrypoint /bin/sh docker.io/library/rust:1.95-bookworm -c true > "$work/try.log" 2>&1 ||
    { tail -n 3 "$work/try.log"; exit 77; }
rm -r "$base" "$work/base.tar"

git archive HEAD | (mkdir "$work/src" && tar -C "$work/src" -xf -)
podman build --quiet --network none --pull=never --format docker -f "$work/src/deploy/Dockerfile" -t dsm-check "$work/src" \
    > "$work/build.log" 2>&1 || { tail -n 5 "$work/build.log"; echo "FAILED: build of the Dockerfile"; exit 1; }
check "user, volume, health check, labels" \
    "$(podman image inspect dsm-check --format '{{.User}} {{.Config.Volumes}} {{.HealthCheck.Test}} {{.Labels}}')" \
    '65532:65532 .*/data.*healthcheck.*org\.opencontainers\.image\.title:data-sources-monitor'

image() { podman run --no-healthcheck --network host --read-only --read-only-tmpfs=false --cap-drop all --security-opt no-new-privileges "$@"; }
status_page major
mkdir "$work/monitors"
printf 'name = "Page A"\nurl = "http://localhost:%s"\n' "$page_port" > "$work/monitors/a.toml"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cp .env.example "$work/env"
image -d --name one --env-file "$work/env" -e "LISTEN=[::]:$port" -e POLL_INTERVAL=1s -v "$work/monitors:/monitors:ro" \
    dsm-check > /dev/null
detected() { podman logs one 2>&1 | grep -q 'Issues detected: Page A'; }
until_true detected
check "a copy of .env.example does not override mounted definitions" "$(podman logs one 2>&1)" 'Issues detected: Page A: In the check'
check "health check" "$(podman exec one /data-sources-monitor healthcheck)" '^ready'
podman stop --time 20 one > /dev/null
check "SIGTERM stops the daemon" "$(podman inspect one --format '{{.State.ExitCode}}')" '^0$'

image -d --name demo -e "LISTEN=127.0.0.1:$port" dsm-check demo > /dev/null
announced() { podman logs demo 2>&1 | grep -q "Dashboard: http://127.0.0.1:$port/"; }
until_true announced
check "the demo listens at LISTEN" "$(podman logs demo 2>&1)" "Dashboard: http://127.0.0.1:$port/"
podman stop --time 20 demo > /dev/null
check "SIGTERM stops the demo" "$(podman inspect demo --format '{{.State.ExitCode}}')" '^0$'

image -d -i --name waiting dsm-check serve stdin statuscake > /dev/null
until_true sh -c 'grep -q "^SigCgt:.*[4-7c-f]...$" "/proc/$(podman inspect waiting --format "{{.State.Pid}}")/status"'
podman stop --time 20 waiting > /dev/null
check "SIGTERM stops a command that waits for input" "$(podman inspect waiting --format '{{.State.ExitCode}}')" '^1$'

mkdir "$work/foreign"
output=$(image --rm -v "$work/foreign:/data" dsm-check 2>&1)
check "for a /data of another user the daemon prints the fix" "$output" 'DATA_DIR /data.*user 65532.*chown -R 65532:65532 /data'
output=$(image --rm -v "$work/foreign:/data" dsm-check validate 2>&1)
check "... and so does validate" "$output" 'DATA_DIR /data.*chown -R 65532:65532 /data'
exit $failed
