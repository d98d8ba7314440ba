# Shared by the runners: where things go, downloads that are tried again, a scheduler on a free port.
# shellcheck shell=bash

official=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$official/../../.." && pwd)

# Installed SDKs and results live here; set CONFORMANCE_WORK to keep them between runs.
work=${CONFORMANCE_WORK:-$root/target/conformance}
mkdir -p "$work"

say() { printf '%s\n' "$*" >&2; }

die() { say "conformance: $*"; exit 1; }

# retry COMMAND...: a download, tried four times with growing pauses.
retry() {
    local pause
    for pause in 2 5 15; do
        "$@" && return
        say "conformance: '$*' failed; again in $pause s"
        sleep "$pause"
    done
    "$@"
}

# debian_packages PACKAGE...: installs them, where this is a Debian and we may.
debian_packages() {
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
    retry apt-get update -qq >&2 || return 1
    DEBIAN_FRONTEND=noninteractive retry apt-get install -qq -y --no-install-recommends "$@" >&2
}

# need TOOL PACKAGE...: installs the packages where TOOL is missing.
need() {
    local tool=$1
    shift
    command -v "$tool" >/dev/null && return
    debian_packages "$@" && command -v "$tool" >/dev/null
}

# start_scheduler: sets CONFORMANCE_CONNECTION_STRING to a scheduler of our own, in memory of its
# own, unless the variable is set already.
start_scheduler() {
    [ -z "${CONFORMANCE_CONNECTION_STRING:-}" ] || return 0
    local data log tries
    data=$(mktemp -d)
    log=$data/scheduler.log
    scheduler_binary "$data"
    "${scheduler_command[@]}" >"$log" 2>&1 &
    scheduler_pid=$!
    scheduler_data=$data
    trap stop_scheduler EXIT
    for tries in $(seq 300); do
        if grep -q 'Endpoint=' "$log"; then
            CONFORMANCE_CONNECTION_STRING=$(grep -o 'Endpoint=[^ ]*' "$log" | head -n 1)
            export CONFORMANCE_CONNECTION_STRING
            return
        fi
        kill -0 "$scheduler_pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    die "the scheduler did not start"
}

# scheduler_binary FOLDER: builds ours where it isn't, and sets scheduler_command.
scheduler_binary() {
    local binary=${CONFORMANCE_SCHEDULER:-$root/target/debug/countersign}
    if [ -z "${CONFORMANCE_SCHEDULER:-}" ]; then
        (cd "$root" && cargo build --locked --quiet --bin countersign >&2)
    fi
    scheduler_command=("$binary" scheduler --data-dir "$1/data" --scheduler-listen 127.0.0.1:0 --dashboard-listen none)
}

stop_scheduler() {
    kill "$scheduler_pid" 2>/dev/null || true
    wait "$scheduler_pid" 2>/dev/null || true
    rm -rf "$scheduler_data"
}

# python_environment: an environment with the pinned packages at $work/venv.
python_environment() {
    need python3 python3 || die "Python: there is no python3, and it could not be installed"
    local wanted=$official/python/requirements.txt
    if cmp -s "$wanted" "$work/venv/requirements.txt"; then return; fi
    rm -rf "$work/venv"
    if ! python3 -m venv "$work/venv" 2>/dev/null; then
        rm -rf "$work/venv"
        debian_packages python3-venv || die "Python: python3-venv is missing, and it could not be installed"
        python3 -m venv "$work/venv"
    fi
    retry "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" >&2 \
        || die "Python: the official packages could not be downloaded; is there a network?"
    cp "$wanted" "$work/venv/requirements.txt"
}

# go_toolchain: a Go that builds the official module, installed where it is missing.
go_toolchain() {
    need go golang-go || return 1
    local version
    version=$(go env GOVERSION)
    [ "$(printf '%s\n' go1.21 "$version" | sort -V | head -n 1)" = go1.21 ]
}
