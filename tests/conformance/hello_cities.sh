#!/usr/bin/env bash
# Measures hello-cities (N instances at once, five activities each, one after the other) with our
# SDK and the official Python one, against our scheduler and the backends of others, and on other
# durable engines, in one run, and prints seconds and ratios, and what the machine gives at most.
# Every backend is a process of its own, new for each line, with nothing else under way. Each engine
# runs with the settings that were found to be its best on two cores. Never fails on time. Besides
# the seconds it tells how much of a processor both ends took together, which says the same on a busy
# machine as on a quiet one.
#
#   tests/conformance/hello_cities.sh [INSTANCES]     (default: 1000)
#
# CONFORMANCE_WORK means what it means to official/run.sh. Where Go, the other engines or the
# Restate server cannot be had, their lines are left out.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=official/lib.sh
source official/lib.sh

instances=${1:-1000}
# Starts and waits under way at once. The Python package's backend has ten threads for all calls,
# and a wait keeps one.
in_flight=256
few_in_flight=4
restate_partitions=1
# duroxide hands out this many orchestrations and activities at once. With more, they keep each other
# out of its database, and some fail of that.
duroxide_workers=1

# optional WHAT COMMAND...: whether something can be had.
optional() {
    local what=$1
    shift
    ("$@" >&2) || { say "conformance: $what is left out"; return 1; }
}

peers() {
    (cd peers && retry cargo build --release --locked --quiet --target-dir "$work/peers")
}

# dbos_environment: an environment with DBOS at $work/dbos.
dbos_environment() {
    cmp -s peers/dbos.txt "$work/dbos/dbos.txt" && return
    rm -rf "$work/dbos"
    python3 -m venv "$work/dbos"
    retry "$work/dbos/bin/pip" install --quiet --disable-pip-version-check -r peers/dbos.txt || return
    cp peers/dbos.txt "$work/dbos/dbos.txt"
}

python_environment
go=yes
optional "the Go sidecar" go_sidecar || go=
engines=yes
optional "duroxide and Restate" peers || engines=
postgres=yes
# Both are measured on one server, which flushes what they commit.
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || need initdb postgresql || postgres=
dbos=$postgres
[ -z "$dbos" ] || optional DBOS dbos_environment || dbos=
restate=$engines
[ -z "$restate" ] || optional "the Restate server" node_packages restate restate Restate || restate=
(cd "$root" && cargo build --profile dist --locked --quiet -p durabletask-scheduler-cli \
    && cargo bench --locked --quiet -p durabletask-conformance --no-run) >&2
release=${CARGO_TARGET_DIR:-$root/target}/dist
serving
lines=$scratch/lines

# program NAME: the newest build of a benchmark.
program() {
    (cd "$root" && cargo bench --locked --message-format json --quiet -p durabletask-conformance \
        --bench "$1" --no-run) | sed -n 's|.*"executable":"\([^"]*\)".*|\1|p' | tail -n 1
}
hello_cities=$(program hello_cities_backends)
machine_limits=$(program machine_limits)

# busy PID...: how long processes have kept a processor busy, in hundredths of a second.
busy() {
    local pid
    for pid in "$@"; do cat "/proc/$pid/stat"; done | awk '{ busy += $14 + $15 } END { print busy + 0 }'
}

# measure COMMAND...: runs what prints a number, beside what `serve` started: the number ends up in
# $number, and the seconds that both ends kept processors busy in $processors.
measure() {
    local own before after TIMEFORMAT='%U %S'
    before=$(busy "${started[@]}")
    own=$({ time "$@" >"$scratch/number" 2>"$scratch/errors"; } 2>&1) \
        || { tail -n 5 "$scratch/errors" >&2; say "conformance: '$*' failed"; return 1; }
    after=$(busy "${started[@]}")
    number=$(tail -n 1 "$scratch/number")
    processors=$(awk -v own="$own" -v there=$((after - before)) \
        'BEGIN { split(own, parts, " "); print parts[1] + parts[2] + there / 100 }')
}

# The processor seconds of PostgreSQL are not among those of the two lines on it.
# line SDK BACKEND COMMAND...: measures what prints the seconds that it took.
line() {
    local sdk=$1 backend=$2
    shift 2
    measure "$@" || return 1
    say "$sdk, $backend: $number s"
    printf '%s\t%s\t%s\t%s\n' "$sdk" "$backend" "$number" "$processors" >>"$lines"
}

# restate_address SERVER LOG: where it listens, once it does.
restate_address() {
    sed -n "s|.*\"server.port\":\([0-9]*\),\"server_name\":\"$1\".*|http://127.0.0.1:\1|p" "$2" | head -n 1
}

# restate_server: a server with its data in $scratch; sets $ingress and $admin.
restate_server() {
    local log=$scratch/restate.log folder
    folder=$(mktemp -d -p "$scratch")
    # Ports of its own choice; one log and one partition, which took least of two cores. What it has
    # acknowledged is flushed, as by default.
    RESTATE_BASE_DIR=$folder RESTATE_LISTEN_MODE=tcp RESTATE_USE_RANDOM_PORTS=true \
        RESTATE_BIND_IP=127.0.0.1 RESTATE_DEFAULT_NUM_PARTITIONS=$restate_partitions \
        RESTATE_BIFROST__DEFAULT_PROVIDER=local RESTATE_DISABLE_TELEMETRY=true \
        RESTATE_LOG_FORMAT=json \
        "$work"/restate/node_modules/@restatedev/restate-server-*/bin/restate-server --no-logo \
        >"$log" 2>&1 &
    started+=($!)
    for _ in $(seq 300); do
        ingress=$(restate_address http-ingress-server "$log")
        admin=$(restate_address admin-api-server "$log")
        [ -z "$ingress" ] || [ -z "$admin" ] || return 0
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    die "the Restate server did not start"
}

load=$(cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null || echo unknown)
scheduler="$release/durabletask-scheduler --listen 127.0.0.1:0 --dashboard none --log warn"

serve scheduler $scheduler --data-dir "$scratch/hub"
line Rust "own scheduler, SQLite file" "$hello_cities" "$instances" "${said%% *}" $in_flight
stop_served

serve scheduler-memory $scheduler --memory
line Rust "own scheduler, in memory" "$hello_cities" "$instances" "${said%% *}" $in_flight
stop_served

if [ -n "$postgres" ]; then
    trap 'kill "${started[@]}" 2>/dev/null || true; stop_postgres; rm -rf "$scratch"' EXIT
    POSTGRES_DURABLE=1 postgres_server "$scratch/postgres"
    url=$(postgres_database hub)
    DURABLETASK_DATABASE_URL=$url serve scheduler-postgres $scheduler
    line Rust "own scheduler, PostgreSQL" "$hello_cities" "$instances" "${said%% *}" $in_flight
    stop_served
    if [ -n "$dbos" ]; then
        url=$(postgres_database dbos)
        line DBOS "itself, PostgreSQL" "$work/dbos/bin/python" dbos_cities.py "$instances" "$url" \
            || say "conformance: DBOS is left out"
    fi
    stop_postgres
fi

if [ -n "$go" ]; then
    serve go "$work/go/sidecar" --host 127.0.0.1 --port 0 --db "$scratch/sidecar.sqlite3"
    line Rust "Go sidecar, SQLite file" "$hello_cities" "$instances" \
        "Endpoint=http://${said##* };TaskHub=default;Authentication=None" $few_in_flight
    stop_served
fi

serve python "$work/venv/bin/python" python_backend.py
line Rust "Python backend, in memory" "$hello_cities" "$instances" "$said" $few_in_flight
stop_served

serve python-again "$work/venv/bin/python" python_backend.py
address=${said#*://}
line Python "Python backend, in memory" "$work/venv/bin/python" hello_cities.py "$instances" "${address%%;*}"
stop_served

if [ -n "$engines" ]; then
    mkdir "$scratch/duroxide"
    line duroxide "itself, SQLite file" env RUST_LOG=off \
        "$work/peers/release/duroxide" "$instances" "$scratch/duroxide" $duroxide_workers \
        || say "conformance: duroxide is left out"
fi

if [ -n "$restate" ]; then
    for kind in calls steps; do
        restate_server
        line Restate "Restate server, $kind" \
            "$work/peers/release/restate" "$instances" $kind "$ingress" "$admin" \
            || say "conformance: Restate is left out"
        stop_served
    done
fi

serve limits $scheduler --memory
address=${said#Endpoint=}
flushes=$("$machine_limits" flushes "$scratch")
calls=100000
measure "$machine_limits" calls "${address%%;*}" $calls
stop_served

printf '\nhello-cities, %s instances; load of the machine before (1, 5, 15 min): %s\n\n' "$instances" "$load"
awk -F '\t' -v n="$instances" '
    NR == 1 {
        seconds = $3; busy = $4
        printf "%-10s%-28s%9s%13s%14s%8s%12s%8s\n",
            "SDK", "backend", "seconds", "instances/s", "work items/s", "ratio", "processor s", "ratio"
    }
    {
        printf "%-10s%-28s%9.2f%13.0f%14.0f%8.2f%12.2f%8.2f\n",
            $1, $2, $3, n / $3, 11 * n / $3, $3 / seconds, $4, $4 / busy
    }' "$lines"
printf '\nat most, on %s cores: %s flushes of a file a second; %s gRPC calls a second that do nothing, %s us of a processor each\n' \
    "$(nproc)" "$flushes" "$number" "$(awk -v s="$processors" -v n=$calls 'BEGIN { printf "%.1f", s / n * 1e6 }')"
