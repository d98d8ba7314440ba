# docker-compose.yml: the whole of it killed and started.
# shellcheck shell=bash

compose() {
    "$tools/python/bin/podman-compose" --podman-path "$work/podman" --project-name "$project" "$@"
}

# Podman's compose, and images under the names of the compose files.
with_compose() {
    with_podman
    python_tool podman-compose==1.6.0
    # podman-compose calls a program. It starts parts in their order itself, and Podman before 4.4
    # cannot start one whose dependency has one of its own.
    {
        echo '#!/usr/bin/env bash'
        declare -p work
        declare -f podman_here
        echo 'for one; do shift; [[ $one = --requires=* ]] || set -- "$@" "$one"; done'
        echo 'podman_here "$@"'
    } >"$work/podman"
    chmod +x "$work/podman"
    for pair in "countersign $countersign" "durabletask-scheduler $scheduler"; do
        podman_here image exists "${pair% *}:local" ||
            build_image "${pair% *}" "${pair#* }" "${pair% *}:local" 2>/dev/null
    done
}

# Free ports, and limits that this machine can give, for these parts.
override() {
    port=$(free_port)
    dashboard=$(free_port)
    {
        echo services:
        for part in "$@"; do
            printf '  %s:\n    ulimits: { memlock: %s' "$part" "$locked"
            for limit in "${limits[@]}"; do
                printf ', %s: %s' "${limit%%=*}" "${limit##*:}"
            done
            printf ' }\n'
            [ "$part" != front-door ] || printf '    ports: !override ["127.0.0.1:%s:7071"]\n' "$port"
            [ "$part" != scheduler ] || printf '    ports: !override ["127.0.0.1:%s:8082"]\n' "$dashboard"
        done
    } >"$work/override.yml"
}

step_compose() {
    with_compose
    override front-door worker scheduler
    token=$(openssl rand -hex 32)
    export COUNTERSIGN_ADMIN_TOKEN=$token
    base=http://127.0.0.1:$port
    files=(--file docker-compose.yml --file "$work/override.yml")
    compose "${files[@]}" up --detach --no-build >"$work/compose" 2>&1 || { cat "$work/compose"; fail "compose up"; }
    until_answers "$base/readyz" '"status":"ok"'
    until_answers "http://127.0.0.1:$dashboard/healthz" .
    first=$(enroll first)
    waits=$(call POST '/api/enrollments?approval=required' --data "$(uri waits)" | field id)

    parts=(${project}_scheduler_1 ${project}_worker_1 ${project}_front-door_1)
    for part in "${parts[@]}"; do
        podman_here kill --signal KILL "$part" >/dev/null
    done
    podman_here start "${parts[@]}" >/dev/null
    until_answers "$base/readyz" '"status":"ok"'
    code "$first"
    admin=$token
    token=$(podman_here exec ${project}_front-door_1 /usr/local/bin/countersign key create second --role approver)
    call POST "/api/enrollments/$waits/approval" --data '{"approved": true}' >/dev/null
    token=$admin
    call GET "/api/enrollments/$waits?wait=30" | grep -q '"Enrolled"' || fail "what was under way is lost"
    code "$waits"
    podman_here exec ${project}_front-door_1 /usr/local/bin/countersign audit verify
    echo "all three killed and started: accounts, an enrollment under way and the audit log are whole"
    compose "${files[@]}" down --volumes >"$work/compose" 2>&1
    without "docker-compose.azure.yml needs images of others that no package registry has; tests/compose/run loads it"
}
