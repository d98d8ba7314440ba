# Shared by the runners: where things go, downloads that are tried again, a scheduler on a free port.
# shellcheck shell=bash

official=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$official/../../.." && pwd)

# Installed SDKs and results live here; set CONFORMANCE_WORK to keep them between runs.
work=${CONFORMANCE_WORK:-$root/target/conformance}
mkdir -p "$work"

say() { printf '%s\n' "$*" >&2; }

die() { say "conformance: $*"; exit 1; }

# unavailable MESSAGE: ends with the status that means that something could not be installed, which
# callers may forgive; a failed check never ends like this.
unavailable() { say "conformance: $*"; exit 69; }

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

# postgres_server FOLDER: starts a PostgreSQL with its data in the new folder FOLDER, which ends with this
# shell if that calls stop_postgres; sets $postgres_port. POSTGRES_DURABLE=1 lets it flush what it commits.
postgres_server() {
    local folder=$1 programs fsync=off
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || need initdb postgresql \
        || unavailable "PostgreSQL: it is not there, and could not be installed"
    programs=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
    programs=$(dirname "${programs:-$(readlink -f "$(command -v initdb)")}")
    postgres_as=()
    mkdir "$folder"
    if [ "$(id -u)" = 0 ]; then
        # It does not run as root.
        postgres_as=(setpriv --reuid=postgres --regid=postgres --clear-groups --)
        chown postgres:postgres "$folder"
        chmod 0711 "$(dirname "$folder")"
    fi
    [ "${POSTGRES_DURABLE:-}" != 1 ] || fsync=on
    postgres_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    (
        cd /
        "${postgres_as[@]}" "$programs/initdb" --no-sync --no-instructions --auth=trust --encoding=UTF8 --locale=C \
            --username=postgres --pgdata="$folder/data" >/dev/null
    )
    (
        cd /
        exec "${postgres_as[@]}" "$programs/postgres" -D "$folder/data" -k "$folder" -p "$postgres_port" \
            -c listen_addresses=127.0.0.1 -c "fsync=$fsync" -c shared_buffers=128MB
    ) >"$folder.log" 2>&1 &
    postgres_pid=$!
    postgres_psql=("$programs/psql" -X -q -h 127.0.0.1 -p "$postgres_port" -U postgres -d postgres)
    for _ in $(seq 300); do
        "${postgres_psql[@]}" -c 'SELECT 1' >/dev/null 2>&1 && return
        kill -0 "$postgres_pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$folder.log" >&2
    die "PostgreSQL did not start"
}

# postgres_database NAME: a new database with a role of its own; prints its URL.
postgres_database() {
    "${postgres_psql[@]}" -c "CREATE ROLE $1 LOGIN" -c "CREATE DATABASE $1 OWNER $1"
    printf 'postgresql://%s@127.0.0.1:%s/%s\n' "$1" "$postgres_port" "$1"
}

stop_postgres() {
    [ -n "${postgres_pid:-}" ] || return 0
    kill -INT "$postgres_pid" 2>/dev/null || true
    wait "$postgres_pid" 2>/dev/null || true
    postgres_pid=
}

# start_scheduler: sets CONFORMANCE_CONNECTION_STRING to a scheduler of our own, with its data in
# memory, unless the variable is set already.
start_scheduler() {
    [ -z "${CONFORMANCE_CONNECTION_STRING:-}" ] || return 0
    local binary=${CONFORMANCE_SCHEDULER:-$root/target/debug/durabletask-scheduler}
    if [ -z "${CONFORMANCE_SCHEDULER:-}" ]; then
        (cd "$root" && cargo build --locked --quiet -p durabletask-scheduler-cli >&2)
    fi
    scheduler_log=$(mktemp)
    "$binary" --memory --listen 127.0.0.1:0 --dashboard none >"$scheduler_log" 2>&1 &
    scheduler_pid=$!
    trap stop_scheduler EXIT
    for _ in $(seq 300); do
        if CONFORMANCE_CONNECTION_STRING=$(grep -o -m 1 'Endpoint=[^ ]*' "$scheduler_log"); then
            export CONFORMANCE_CONNECTION_STRING
            return
        fi
        kill -0 "$scheduler_pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$scheduler_log" >&2
    die "the scheduler did not start"
}

stop_scheduler() {
    kill "$scheduler_pid" 2>/dev/null || true
    wait "$scheduler_pid" 2>/dev/null || true
    rm -f "$scheduler_log"
}

# python_environment: an environment with the pinned packages at $work/venv.
python_environment() {
    need python3 python3 || unavailable "Python: there is no python3, and it could not be installed"
    local wanted=$official/python/requirements.txt
    if cmp -s "$wanted" "$work/venv/requirements.txt"; then return; fi
    rm -rf "$work/venv"
    if ! python3 -m venv "$work/venv" 2>/dev/null; then
        rm -rf "$work/venv"
        debian_packages python3-venv || unavailable "Python: python3-venv is missing, and it could not be installed"
        python3 -m venv "$work/venv"
    fi
    retry "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" >&2 \
        || unavailable "Python: the official packages could not be downloaded; is there a network?"
    cp "$wanted" "$work/venv/requirements.txt"
}

# go_toolchain: a Go that builds the official module, installed where it is missing.
go_toolchain() {
    need go golang-go || return 1
    local version
    version=$(go env GOVERSION)
    [ "$(printf '%s\n' go1.21 "$version" | sort -V | head -n 1)" = go1.21 ]
}

# go_module: a module at $work/go that requires the official one at the pinned version.
go_module() {
    go_toolchain || unavailable "Go: there is no go 1.21 or newer, and it could not be installed"
    local wanted=$official/go/module.txt
    if cmp -s "$wanted" "$work/go/module.txt"; then return; fi
    rm -rf "$work/go"
    mkdir -p "$work/go"
    # What is required is what these import: the SDK, and its sidecar with the SQLite backend.
    cp "$official"/go/*.go "$work/go/"
    (cd "$work/go" \
        && go mod init durabletask.conformance/official \
        && retry go get "github.com/microsoft/durabletask-go@$(cat "$wanted")" \
        && retry go mod tidy) >&2 \
        || unavailable "Go: the official module could not be downloaded; is there a network?"
    cp "$wanted" "$work/go/module.txt"
}

# go_sidecar: the official sidecar at $work/go/sidecar.
go_sidecar() {
    go_module
    (cd "$work/go" && retry go build -mod=mod -o sidecar github.com/microsoft/durabletask-go) >&2 \
        || unavailable "Go: the official sidecar could not be built"
}

# node_packages NAME FOLDER WHAT: the packages of FOLDER/package.json at $work/NAME.
node_packages() {
    local target=$work/$1 wanted=$2/package.json
    need node nodejs || unavailable "$3: there is no node, and it could not be installed"
    need npm npm || unavailable "$3: there is no npm, and it could not be installed"
    if cmp -s "$wanted" "$target/package.json"; then return; fi
    rm -rf "$target" "$target.new"
    mkdir -p "$target.new"
    cp "$wanted" "$target.new/"
    # Renamed last: the name says that the installation is whole.
    (cd "$target.new" && retry npm install --no-audit --no-fund --ignore-scripts --loglevel=error >&2) \
        || { rm -rf "$target.new"; unavailable "$3: its packages could not be downloaded; is there a network?"; }
    mv "$target.new" "$target"
}

# serving: a folder at $scratch for what `serve` starts, all of which ends with this shell.
serving() {
    scratch=$(mktemp -d)
    started=()
    trap 'kill "${started[@]}" 2>/dev/null || true; rm -rf "$scratch"' EXIT
}

# serve NAME COMMAND...: starts a backend; its first words about a port end up in $said.
serve() {
    local log=$scratch/$1.log
    shift
    "$@" >"$log" 2>&1 &
    started+=($!)
    for _ in $(seq 300); do
        said=$(grep -oE -m 1 '(Endpoint=.*|listening at .*|listens on .*)' "$log") && return
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    die "'$*' did not start"
}

# stop_served: ends all that `serve` started so far.
stop_served() {
    kill "${started[@]}" 2>/dev/null || true
    wait "${started[@]}" 2>/dev/null || true
    started=()
}

# recorded SDK COMMAND...: runs a program that leaves optional fields alone, through a proxy that
# records what it sends, and compares that with recorded.tsv. Needs the official Python package,
# which knows the messages.
recorded() {
    local sdk=$1 out=$work/recorded-$1.tsv log
    shift
    python_environment
    log=$(mktemp)
    "$work/venv/bin/python" "$official/recorder.py" "$sdk" "$(
        grep -oE '//[^;/]+' <<<"$CONFORMANCE_CONNECTION_STRING" | head -n 1 | cut -c3-
    )" "$out" >"$log" &
    local recorder=$! address=
    for _ in $(seq 100); do
        address=$(grep -oE 'http://.*' "$log") && break
        kill -0 "$recorder" 2>/dev/null || break
        sleep 0.1
    done
    rm -f "$log"
    [ -n "$address" ] || die "the recorder did not start"
    # shellcheck disable=SC2001
    CONFORMANCE_CONNECTION_STRING=$(sed "s|Endpoint=[^;]*|Endpoint=$address|" \
        <<<"$CONFORMANCE_CONNECTION_STRING") timeout 120 "$@" >&2 || true
    kill "$recorder"
    wait "$recorder" || true
    "$work/venv/bin/python" "$official/recorder.py" --compare "$sdk" "$out"
}
