# Functions shared by the checks. Sourced, not run.
failed=0
work=$(mktemp -d)
pids=()

# check "claim" "actual text" "pattern that it must match"
check() {
    if grep -qE -- "$3" <<< "$2"; then
        echo "ok: $1"
    else
        echo "FAILED: $1: expected /$3/, found: $(tail -n 5 <<< "$2")"
        failed=1
    fi
}

# Runs a command until it succeeds, for at most 30 s.
until_true() {
    for _ in $(seq 150); do
        if "$@" > /dev/null 2>&1; then return 0; fi
        sleep 0.2
    done
    return 1
}

# Installs Debian into a folder, once: debian FOLDER PACKAGES
debian() {
    [ -e "$1/complete" ] && return
    rm -rf "$1"
    mkdir -p "$(dirname "$1")"
    debootstrap --variant=minbase --include="$2" bookworm "$1" > "$work/debootstrap.log" 2>&1 || {
        tail -n 5 "$work/debootstrap.log"
        return 1
    }
    touch "$1/complete"
}

# Serves a status page on a free port and sets `page_port`: status_page INDICATOR [COMMAND that runs the server]
status_page() {
    mkdir -p "$work/page/api/v2"
    echo "{\"status\": {\"indicator\": \"$1\", \"description\": \"In the check\"}}" > "$work/page/api/v2/status.json"
    "${@:2}" python3 -u -m http.server --bind 127.0.0.1 --directory "$work/page" 0 > "$work/page.log" 2>&1 &
    pids+=($!)
    until_true grep -q 'port [0-9]' "$work/page.log"
    page_port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$work/page.log")
}
