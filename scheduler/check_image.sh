#!/usr/bin/env bash
# Checks of Dockerfile what can be checked without a container engine: the program, linked
# statically, runs as the recipe's user with the recipe's environment in a root folder that holds
# nothing but itself, an empty /data and the devices that engines give a container; keeps its
# data there, ends on SIGTERM, and opens the data again.
#
#   scheduler/check_image.sh [BINARY]     (default: built by cargo, with the C library in it)
#
# Needs root, for chroot; where that is missing it ends with status 69.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'check_image: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "check_image: left out, only root may change the root folder" >&2; exit 69; }

binary=${1:-}
if [ -z "$binary" ]; then
    host=$(rustc -vV | sed -n 's/^host: //p')
    RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" cargo build --release --locked --quiet \
        --package durabletask-scheduler-cli --target "$host" --target-dir target/static
    binary=target/static/$host/release/durabletask-scheduler
fi
if readelf --program-headers "$binary" | grep -q INTERP; then
    die "$binary needs a dynamic linker, which an empty image does not have"
fi

image=$(mktemp -d)
trap 'kill "${pid:-}" 2>/dev/null || true; rm -rf "$image" "$image.said" "$image.log"' EXIT
cp "$binary" "$image/durabletask-scheduler"
chmod 755 "$image" "$image/durabletask-scheduler"
mkdir "$image/data" "$image/dev"
user=$(sed -n 's/^USER //p' scheduler/Dockerfile)
chown "$user" "$image/data"
mknod -m 666 "$image/dev/null" c 1 3
mknod -m 444 "$image/dev/urandom" c 1 9
# The recipe's environment, its continued line joined.
mapfile -t environment < <(sed -e ':a' -e '/\\$/N; s/\\\n//; ta' scheduler/Dockerfile \
    | sed -n 's/^ENV //p' | tr -s ' ' '\n')
[ "${#environment[@]}" -ge 4 ] || die "the environment in the Dockerfile could not be read"

# run: starts the program; its addresses end up in $said.
run() {
    # The ports are the test's, for those of the recipe may be taken here.
    env -i "${environment[@]}" DURABLETASK_LISTEN=0.0.0.0:0 DURABLETASK_DASHBOARD=0.0.0.0:0 \
        "$(command -v chroot)" --userspec="$user" "$image" /durabletask-scheduler --json >"$image.said" 2>"$image.log" &
    pid=$!
    for _ in $(seq 300); do
        said=$(cat "$image.said")
        [ -z "$said" ] || return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$image.log" >&2
    die "the program did not start"
}

healthy() {
    local port
    port=$(printf '%s' "$said" | sed -n 's|.*"dashboard":"http://0.0.0.0:\([0-9]*\)".*|\1|p')
    [ -n "$port" ] || die "no dashboard in: $said"
    curl --silent --show-error --fail --max-time 20 "http://127.0.0.1:$port/healthz" >/dev/null \
        || die "it is not healthy"
}

ended() {
    kill -TERM "$pid"
    wait "$pid" || die "it did not end as asked to"
}

run
healthy
[ "$(stat -c %u "$image/data/scheduler.sqlite3")" = "${user%%:*}" ] || die "the database is another user's"
ended
run
healthy
ended
printf 'the image would hold %s bytes; it runs in an empty root folder\n' "$(stat -c %s "$binary")"
