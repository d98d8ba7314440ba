# What the steps of deploy/verify share: tools, podman, and a record of what ran.
# shellcheck shell=bash

countersign=$(realpath "${COUNTERSIGN:-target/debug/countersign}")
scheduler=$(realpath "${SCHEDULER:-target/debug/durabletask-scheduler}")
tools=${VERIFY_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/countersign-verify}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
REVISION=$(git rev-parse HEAD)
export REVISION
work=$(mktemp -d)
records=()
# Its networks are in a folder of the machine, whichever store Podman is given.
project=verify$$
mkdir -p "$tools"

clean_up() {
    if [ -d "$work/store" ]; then
        podman_here rm --all --force --depend --time 2 >/dev/null 2>&1 || true
        podman_here volume prune --force >/dev/null 2>&1 || true
        podman_here network prune --force >/dev/null 2>&1 || true
    fi
    # What a container that was killed has left mounted.
    findmnt --noheadings --raw --output TARGET | grep "^$work/" | xargs --no-run-if-empty umount --lazy || true
    rm -rf "$work"
}
trap clean_up EXIT

# Runs a step in a shell of its own. 69 means that it was left out: the file why says the reason.
run() {
    local began=$SECONDS status=0
    printf '\n== %s\n' "$1"
    rm -f "$work/why" "$work/notes"
    # Not `"step_$1" || …`: that would go on after what fails inside.
    set +e
    (
        set -e
        "step_$1"
    )
    status=$?
    set -e
    local took=$((SECONDS - began)) notes
    notes=$(cat "$work/notes" 2>/dev/null || true)
    case $status in
        0) records+=("ran       $1 (${took}s)${notes:+, but: $notes}") ;;
        69) records+=("left out  $1: $(cat "$work/why")") ;;
        *) records+=("FAILED    $1 (${took}s), status $status") failed=1 ;;
    esac
}

summary() {
    printf '\n== what ran, with %s\n' "$("$countersign" --version)"
    printf '%s\n' "${records[@]}"
    [ -z "${failed-}" ]
}

# Leaves the whole step out.
leave_out() {
    printf '%s\n' "$1" >"$work/why"
    printf 'left out: %s\n' "$1"
    exit 69
}

# Leaves a part of a step out.
without() {
    printf '%s%s' "$([ -s "$work/notes" ] && echo '; ')" "$1" >>"$work/notes"
    printf 'without: %s\n' "$1"
}

fail() {
    printf 'verify: %s\n' "$1" >&2
    exit 1
}

# Installs Debian's packages if programs are missing: `needs podman:podman readelf:binutils`.
needs() {
    local missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        leave_out "${missing[*]} cannot be installed: this needs root on Debian or Ubuntu"
    apt-get -qq update >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
        "${missing[@]}" >"$work/apt" 2>&1 || leave_out "Debian's ${missing[*]} could not be installed"
}

# A program of a Python package, in an environment of its own.
python_tool() {
    [ -x "$tools/python/bin/python" ] || python3 -m venv "$tools/python" ||
        leave_out "no Python environment can be made (python3-venv)"
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check "$@" >&2 ||
        leave_out "$* could not be installed with pip"
}

# Podman with a store of its own, as it works in a machine without systemd too.
podman_here() {
    CONTAINERS_CONF=$work/containers.conf podman --root "$work/store" --runroot "$work/runroot" \
        --storage-driver vfs --cgroup-manager cgroupfs --runtime runc \
        --network-config-dir "$work/networks" --log-level error "$@"
}

with_podman() {
    [ "$(id -u)" = 0 ] || leave_out "containers are run as root here"
    needs podman:podman buildah:buildah runc:runc conmon:conmon iptables:iptables \
        readelf:binutils curl:curl /usr/lib/podman/netavark:netavark \
        /usr/lib/podman/aardvark-dns:aardvark-dns
    mkdir -p "$work/networks"
    printf '[engine]\nevents_logger = "none"\n[network]\nnetwork_backend = "netavark"\n' >"$work/containers.conf"
    local bound
    bound=$(ulimit -Hl)
    # Podman asks for more than a machine may give.
    limits=(nofile=4096:4096 nproc=4096:4096)
    # The same as options of podman.
    ulimits=("${limits[@]/#/--ulimit=}")
    if [ "$bound" = unlimited ]; then
        locked=-1
    else
        locked=$((bound * 1024))
    fi
    try_container
}

# Leaves the step out where this machine runs no container at all, not even one of its own
# /bin/true: that says nothing about what ships.
try_container() {
    local context=$work/context-true
    [ ! -e "$work/containers-run" ] || return 0
    mkdir -p "$context/root/bin"
    cp /bin/true "$context/root/bin/true"
    ldd /bin/true | grep -o '/[^ ]*' | while read -r library; do
        install -D "$library" "$context/root$library"
    done
    printf 'FROM scratch\nCOPY root/ /\nENTRYPOINT ["/bin/true"]\n' >"$context/Dockerfile"
    if ! podman_here build --quiet --tag verify-true "$context" >/dev/null 2>"$work/container-refused" ||
        ! podman_here run --rm --read-only --memory 64m "${ulimits[@]}" \
            --publish "127.0.0.1:$(free_port):80" verify-true 2>"$work/container-refused"; then
        leave_out "no container runs on this machine: $(tail -n 1 "$work/container-refused")"
    fi
    touch "$work/containers-run"
    podman_here rmi --force verify-true >/dev/null
}

# What a container of ours is run with.
contained() {
    podman_here run --detach --read-only --cap-drop all --security-opt no-new-privileges \
        --memory 512m --pids-limit 256 "${ulimits[@]}" "$@" >/dev/null
}

# Docker's format has the health check, and Podman puts names of the build into it, so that no two
# are the same; OCI's has neither.
build_image() {
    local program=$1 binary=$2 tag=$3 format=${4:-docker}
    deploy/image/pack --strip "$program" "$binary" "$work/context-$program"
    podman_here build --quiet --layers=false --format "$format" --timestamp "$SOURCE_DATE_EPOCH" \
        --tag "$tag" "$work/context-$program" >/dev/null
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Asks until the answer has in it what it should, for at most a minute.
until_answers() {
    local url=$1 text=$2
    for _ in $(seq 240); do
        if curl -fsS --max-time 5 "$url" 2>/dev/null | grep -q "$text"; then
            return
        fi
        sleep 0.25
    done
    fail "$url never answered $text"
}

# Waits until a container has logged something.
until_logged() {
    for _ in $(seq 120); do
        if podman_here logs "$1" 2>&1 | grep -q "$2"; then
            return
        fi
        sleep 0.25
    done
    podman_here logs "$1" >&2 || true
    fail "$1 never logged: $2"
}

# One call of the API at $base as $token.
call() {
    local method=$1 path=$2
    shift 2
    curl -fsS --max-time 60 -X "$method" -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/json' "$@" "$base$path"
}

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

uri() { printf '{"uri":"otpauth://totp/Verify:%s?secret=JBSWY3DPEHPK3PXP&issuer=Verify"}' "$1"; }

# Enrolls an account, prints its id, and gets a code of six digits.
enroll() {
    local id
    id=$(call POST /api/accounts --data "$(uri "$1")" | field secretName)
    code "$id"
    echo "$id"
}

code() { call GET "/api/tokens?id=$1" | field token | grep -Eq '^[0-9]{6}$' || fail "no code of $1"; }
