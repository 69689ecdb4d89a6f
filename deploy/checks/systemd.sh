#!/usr/bin/env bash
# Installs the unit on a booted systemd as described in its comments, and checks start, reload, commands, stop and failures.
#   systemd.sh path/to/static/data-sources-monitor      (as root; needs debootstrap, systemd-nspawn, python3)
# Exit: 0 passed, 1 failed, 77 skipped because this machine cannot boot systemd.
set -uo pipefail
cd "$(dirname "$0")/../.."
. deploy/checks/lib.sh
binary=$(realpath "$1")
name=data-sources-monitor
root=${CHECKS_DIR:-$PWD/target/checks}/systemd
inside=

finish() {
    # This signal makes systemd power off cleanly.
    [ -n "$inside" ] && kill -s RTMIN+4 "$inside" 2>/dev/null && until_true test ! -e "/proc/$inside"
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap finish EXIT

debian "$root" systemd,systemd-sysv,dbus,ca-certificates,procps || exit 77
for old in etc/$name "etc/systemd/system/$name*" var/lib/private/$name var/log/private/$name "var/log/journal/*"; do
    # shellcheck disable=SC2086
    rm -rf "$root"/$old
done
echo checked-host > "$root/etc/hostname"
echo '127.0.0.1 localhost page.test' > "$root/etc/hosts"

systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --private-network --machine=dsm-check \
    --console=pipe systemd.show_status=0 < /dev/null > "$work/boot.log" 2>&1 &
pids+=($!)
nspawn=$!
if ! until_true pgrep -P "$nspawn"; then
    tail -n 3 "$work/boot.log"
    exit 77
fi
inside=$(pgrep -P "$nspawn" | head -n 1)
in_it() { nsenter --target "$inside" --all env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_PAGER= "$@"; }
booted() { in_it systemctl is-system-running | grep -qE 'running|degraded'; }
until_true booted || exit 77
property() { in_it systemctl show $name -p "$1" --value; }
active() { [ "$(property ActiveState)" = active ]; }
journal() { in_it journalctl -u $name -o cat --no-pager "$@"; }
get() {
    nsenter --target "$inside" --net python3 -c \
        'import sys, urllib.request; print(urllib.request.urlopen("http://127.0.0.1:8080" + sys.argv[1]).read().decode())' "$1"
}
status_page none nsenter --target "$inside" --net

install -m 755 "$binary" "$root/usr/local/bin/$name"
install -m 644 deploy/$name.service "$root/etc/systemd/system/"
mkdir -p "$root/etc/$name/monitors"
printf 'POLL_INTERVAL=1s\nPOLL_TIMEOUT=500ms\n' | install -m 600 /dev/stdin "$root/etc/$name/env"
in_it systemctl daemon-reload
in_it systemctl enable --quiet --now $name
check "starts with an empty folder of monitors" "$(property ActiveState)" '^active$'
check "... with a line of priority warning in the journal" "$(journal -p warning)" 'contains no \.toml file'
printf 'name = "Page A"\nurl = "http://page.test:%s"\n' "$page_port" > "$root/etc/$name/monitors/a.toml"
in_it systemctl restart $name
check "started" "$(property ActiveState)" '^active$'
operational() { journal | grep -q 'All services operational'; }
until_true operational
check "journal lines have no second timestamp" "$(journal | grep operational)" '^MainOrchestrator - INFO - All services'
check "INFO lines do not have the priority of warnings" "$(journal -p warning | grep -c ' - INFO - ')" '^0$'
check "start time in /metrics" "$(get /metrics)" '^process_start_time_seconds'

echo "name = " > "$root/etc/$name/monitors/b.toml"
in_it systemctl reload $name
refused() { journal -p err | grep -q 'b\.toml'; }
until_true refused
check "a broken definition is an error in the journal" "$(journal -p err)" 'b\.toml:1'
check "... and the daemon keeps running" "$(property ActiveState)" '^active$'
rm "$root/etc/$name/monitors/b.toml"

state=/var/lib/$name
output=$(in_it env DATA_DIR=$state CONNECTORS_DIR=/etc/$name/connectors STATUSCAKE_API_KEY=a-long-key $name sync statuscake 2>&1)
check "sync as root is refused and prints the command to use" "$output" '^ *systemd-run .* sync statuscake$'
output=$(in_it systemd-run -qP --wait --collect -p DynamicUser=yes -p User=$name -p StateDirectory=$name \
    -p WorkingDirectory=$state -p EnvironmentFile=-/etc/$name/env -E MONITORS_DIR=/etc/$name/monitors \
    -E DATA_DIR=$state -E LOG_FILE=off /usr/local/bin/$name validate 2>&1)
check "the command in the unit's comments runs as the service" "$output" 'configuration is valid'

in_it systemctl stop $name
check "stopped" "$(property Result) $(property ExecMainStatus)" '^success 0$'
echo 'QLIK_TENANT_URL=https://acme.example.com' >> "$root/etc/$name/env"
in_it systemctl start $name 2>/dev/null
check "a configuration error is not retried" "$(property ExecMainStatus) $(property NRestarts)" '^78 0$'
sed -i /QLIK/d "$root/etc/$name/env"

# A full disk as the state directory.
in_it systemctl reset-failed $name
in_it mount -t tmpfs -o size=16k,mode=0755 none /var/lib/private/$name
in_it dd if=/dev/zero of=/var/lib/private/$name/ballast bs=1k count=16 status=none 2>/dev/null
in_it systemctl start --no-block $name
retrying() { journal -p warning | grep -q 'retrying for'; }
until_true retrying
check "a full disk is retried" "$(property ActiveState) $(journal -p warning)" '^activating'
in_it mount -o remount,size=8m /var/lib/private/$name
until_true active
check "... and the start succeeds once there is space" "$(property ActiveState)" '^active$'
exit $failed
