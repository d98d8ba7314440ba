#!/usr/bin/env bash
# Measures hello-cities (N instances at once, five activities each, one after the other) with our
# SDK and the official Python one, against our scheduler and the backends of others, in one run, and
# prints seconds and ratios. Every backend is a process of its own, new for each line, with nothing
# else under way. Never fails on time.
#
#   tests/conformance/hello_cities.sh [INSTANCES]     (default: 1000)
#
# CONFORMANCE_WORK means what it means to official/run.sh. Where there is no Go, its line is left out.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=official/lib.sh
source official/lib.sh

instances=${1:-1000}
python_environment
go=yes
(go_sidecar) || { go=; say "conformance: the Go sidecar is left out"; }
(cd "$root" && cargo build --release --locked --quiet -p durabletask-scheduler-cli \
    && cargo bench --locked --quiet -p durabletask-conformance --bench hello_cities_backends --no-run) >&2
release=${CARGO_TARGET_DIR:-$root/target}/release
serving
lines=$scratch/lines

# ours CONNECTION_STRING: the seconds of our SDK.
ours() {
    (cd "$root" && cargo bench --locked --quiet -p durabletask-conformance --bench hello_cities_backends \
        -- "$instances" "$1")
}

# line SDK BACKEND SECONDS
line() {
    say "$1, $2: $3 s"
    printf '%s\t%s\t%s\n' "$@" >>"$lines"
}

load=$(cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null || echo unknown)
scheduler="$release/durabletask-scheduler --listen 127.0.0.1:0 --dashboard none"

serve scheduler $scheduler --data-dir "$scratch/hub"
line Rust "own scheduler, SQLite file" "$(ours "${said%% *}")"
stop_served

serve scheduler-memory $scheduler --memory
line Rust "own scheduler, in memory" "$(ours "${said%% *}")"
stop_served

if [ -n "$go" ]; then
    serve go "$work/go/sidecar" --host 127.0.0.1 --port 0 --db "$scratch/sidecar.sqlite3"
    line Rust "Go sidecar, SQLite file" "$(ours "Endpoint=http://${said##* };TaskHub=default;Authentication=None")"
    stop_served
fi

serve python "$work/venv/bin/python" python_backend.py
line Rust "Python backend, in memory" "$(ours "$said")"
stop_served

serve python-again "$work/venv/bin/python" python_backend.py
address=${said#*://}
line Python "Python backend, in memory" "$("$work/venv/bin/python" hello_cities.py "$instances" "${address%%;*}")"
stop_served

printf '\nhello-cities, %s instances; load of the machine before (1, 5, 15 min): %s\n\n' "$instances" "$load"
awk -F '\t' -v n="$instances" '
    NR == 1 { first = $3; printf "%-8s%-30s%10s%14s%8s\n", "SDK", "backend", "seconds", "instances/s", "ratio" }
    { printf "%-8s%-30s%10.2f%14.0f%8.2f\n", $1, $2, $3, n / $3, $3 / first }' "$lines"
