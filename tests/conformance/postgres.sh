#!/usr/bin/env bash
# Runs the official suites and ours against the scheduler over PostgreSQL, as the other runners do against
# one in memory: the same tables, with the same exclusions.
#
#   tests/conformance/postgres.sh [python] [js] [rust] [short]     (default: python js rust)
#
# `short` is a part of the official Python suite that touches every table, in under a minute. Needs
# PostgreSQL, which it installs on Debian. CONFORMANCE_SCHEDULER, CONFORMANCE_WORK and CONFORMANCE_OPTIONAL
# mean what they mean to official/run.sh; `postgres` is one more thing that may be left out.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=official/lib.sh
source official/lib.sh

# What the short form runs of the official Python suite.
short=(chaining fan-out timers external-events sub-orchestrations continue-as-new-events suspend-resume
    terminate purge-filter query history scheduled-start tags entity-call entity-locks schedules large-payloads)

[ $# -gt 0 ] || set -- python js rust
scratch=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; stop_postgres; rm -rf "$scratch"' EXIT

status=0
(compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || need initdb postgresql) || status=69
if [ "$status" = 69 ]; then
    [[ " ${CONFORMANCE_OPTIONAL:-} " == *" postgres "* ]] || unavailable "PostgreSQL could not be installed"
    say "conformance: WARNING: left out, since PostgreSQL could not be installed"
    exit 0
fi
postgres_server "$scratch/postgres"
scheduler=${CONFORMANCE_SCHEDULER:-$root/target/debug/durabletask-scheduler}
[ -n "${CONFORMANCE_SCHEDULER:-}" ] || (cd "$root" && cargo build --locked --quiet -p durabletask-scheduler-cli >&2)

# hub NAME: a node over a new database; sets $said to its connection string.
hub() {
    local url
    url=$(postgres_database "$1")
    DURABLETASK_DATABASE_URL=$url serve "$1" "$scheduler" --listen 127.0.0.1:0 --dashboard none --log warn
}

broken=0
for what in "$@"; do
    case $what in
        short)
            python_environment
            hub short
            CONFORMANCE_CONNECTION_STRING=$said official/python/run.sh "${short[@]}" | tee "$scratch/short"
            failed=$(grep -c -P '^RESULT\t.*\tfail' "$scratch/short" || true)
            passed=$(grep -c -P '^RESULT\t.*\tpass' "$scratch/short" || true)
            printf '%s passed, %s failed, on PostgreSQL\n' "$passed" "$failed"
            { [ "$failed" = 0 ] && [ "$passed" -gt 0 ]; } || broken=1
            ;;
        python | js)
            hub "$what"
            CONFORMANCE_CONNECTION_STRING=$said official/run.sh "$what" || broken=1
            ;;
        rust)
            hub rust
            (cd "$root" && CONFORMANCE_OWN_POSTGRES=$said cargo test --workspace --locked --test backends) || broken=1
            ;;
        *) die "no such suite: $what (python, js, rust, short)" ;;
    esac
    stop_served
done
exit "$broken"
