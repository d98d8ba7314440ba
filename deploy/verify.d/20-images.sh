# The image of the built program: contents, digest, and how it runs.
# shellcheck shell=bash

step_images() {
    with_podman
    for round in first second; do
        build_image countersign "$countersign" "countersign:$round" oci 2>"$work/packed"
        mv "$work/context-countersign/rootfs.tar" "$work/$round.tar"
    done
    cat "$work/packed"
    cmp "$work/first.tar" "$work/second.tar"
    digest=$(podman_here image inspect --format '{{.Digest}}' countersign:first)
    again=$(podman_here image inspect --format '{{.Digest}}' countersign:second)
    [ "$digest" = "$again" ] || fail "two builds have two digests: $digest, $again"
    echo "two builds, one digest: $digest"
    tar tvf "$work/first.tar" | awk '{ print $2, $3, $6 }'
    rm "$work/first.tar" "$work/second.tar"
    podman_here rmi --force countersign:first countersign:second >/dev/null
    build_image countersign "$countersign" countersign:verify 2>/dev/null
    build_image durabletask-scheduler "$scheduler" durabletask-scheduler:verify 2>/dev/null
    [ "$(podman_here image inspect --format '{{.User}}' countersign:verify)" = 65532:65532 ] ||
        fail "the image does not name its user"

    port=$(free_port)
    podman_here volume create verify-data >/dev/null
    start() {
        contained --name verify --volume verify-data:/data --volume "$work/settings:/settings:ro" \
            --publish "127.0.0.1:$port:7071" --env COUNTERSIGN_CONFIG=/settings/settings.toml \
            countersign:verify serve
        base=http://127.0.0.1:$port
        until_answers "$base/readyz" '"status":"ok"'
    }
    mkdir -p "$work/settings"
    echo 'log = "info"' >"$work/settings/settings.toml"
    start
    token=$(podman_here cp verify:/data/admin-token - | tar -xO)
    id=$(enroll first)
    process=$(podman_here inspect --format '{{.State.Pid}}' verify)
    grep -q '^Uid:[[:space:]]*65532[[:space:]]65532' "/proc/$process/status" || fail "it runs as another user"
    grep -q '^CapEff:[[:space:]]*0000000000000000' "/proc/$process/status" || fail "it has capabilities"
    grep -q '^NoNewPrivs:[[:space:]]*1' "/proc/$process/status" || fail "it could gain privileges"
    podman_here healthcheck run verify || fail "its health check fails"
    echo 'log = "warn"' >"$work/settings/settings.toml"
    podman_here kill --signal HUP verify >/dev/null
    sleep 1
    printf 'log = "info"\napprovals = 2\n' >"$work/settings/settings.toml"
    podman_here kill --signal HUP verify >/dev/null
    until_logged verify 'need a restart'
    [ "$(podman_here inspect --format '{{.State.Pid}}' verify)" = "$process" ] || fail "SIGHUP ended it"
    podman_here stop --time 30 verify >/dev/null
    [ "$(podman_here inspect --format '{{.State.ExitCode}}' verify)" = 0 ] || fail "SIGTERM did not end it well"
    podman_here rm verify >/dev/null
    start
    code "$id"
    podman_here kill --signal KILL verify >/dev/null
    podman_here rm --force verify >/dev/null
    start
    code "$id"
    podman_here rm --force verify >/dev/null
    podman_here volume rm verify-data >/dev/null

    port=$(free_port)
    contained --name verify --publish "127.0.0.1:$port:8082" durabletask-scheduler:verify
    until_answers "http://127.0.0.1:$port/healthz" .
    podman_here stop --time 30 verify >/dev/null
    [ "$(podman_here inspect --format '{{.State.ExitCode}}' verify)" = 0 ] || fail "SIGTERM did not end the scheduler well"
    podman_here rm verify >/dev/null
    echo "ran read-only, as 65532, without capabilities; health, SIGHUP, SIGTERM, SIGKILL and volume work"
}
