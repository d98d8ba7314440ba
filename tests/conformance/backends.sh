#!/usr/bin/env bash
# Runs the suite of the Rust SDK against our scheduler and against the backends of others, which it
# installs and starts, and prints a table, feature by backend.
#
#   tests/conformance/backends.sh [python] [go]     (default: both)
#
# DTS_CONNECTION_STRING adds a hosted scheduler or its emulator. CONFORMANCE_WORK and
# CONFORMANCE_OPTIONAL mean what they mean to official/run.sh.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=official/lib.sh
source official/lib.sh

[ $# -gt 0 ] || set -- python go
scratch=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; rm -rf "$scratch"' EXIT

# serve NAME COMMAND...: starts a backend; its first words about a port end up in $said.
serve() {
    local log=$scratch/$1.log
    shift
    "$@" >"$log" 2>&1 &
    started+=($!)
    for _ in $(seq 300); do
        said=$(grep -oE -m 1 '(Endpoint=.*|listening at .*)' "$log") && return
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    die "'$*' did not start"
}

for backend in "$@"; do
    case $backend in
        python)
            python_environment
            serve python "$work/venv/bin/python" python_backend.py
            export CONFORMANCE_PYTHON_BACKEND=$said
            # The same environment runs the other half of the mixed fleets.
            export CONFORMANCE_PYTHON=$work/venv/bin/python
            ;;
        go)
            # In a shell of its own, so that what it cannot install is not the end of this one.
            status=0
            (go_sidecar) || status=$?
            if [ "$status" = 69 ] && [[ " ${CONFORMANCE_OPTIONAL:-} " == *" go "* ]]; then
                say "conformance: WARNING: the Go sidecar is left out, since it could not be installed"
                continue
            fi
            [ "$status" = 0 ] || exit "$status"
            serve go "$work/go/sidecar" --host 127.0.0.1 --port 0 --db "$scratch/sidecar.sqlite3"
            export CONFORMANCE_GO_SIDECAR="Endpoint=http://${said##* };TaskHub=default;Authentication=None"
            ;;
        *) die "no such backend: $backend (python, go)" ;;
    esac
done
cd "$root"
cargo test --workspace --locked --test backends
