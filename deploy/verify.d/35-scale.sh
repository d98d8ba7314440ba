# Two front doors and three workers on one PostgreSQL: docker-compose.scale.yml, killed in parts.
# shellcheck shell=bash

# A stand-in for Docker's image of PostgreSQL, under its name: the programs of this machine's own
# package, since no registry of images is reached.
postgres_image() {
    local context=$work/context-postgres root programs file
    root=$context/root
    programs=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | sort -V | tail -n 1)
    if [ -z "$programs" ]; then
        needs initdb:postgresql
        programs=$(find /usr/lib/postgresql -path '*/bin/postgres' | sort -V | tail -n 1)
    fi
    programs=${programs%/bin/postgres}
    mkdir -p "$root"/{usr/bin,usr/share,tmp,run,etc,var/lib/postgresql}
    ln -s usr/bin "$root/bin"
    ln -s ../run "$root/var/run"
    chmod 1777 "$root/tmp"
    tar -C / -c "${programs#/}/bin" "${programs#/}/lib" "usr/share/postgresql/${programs##*/}" usr/share/zoneinfo |
        tar -C "$root" -x
    # Compiling queries needs all of LLVM, and nothing here is slow enough for it.
    rm -rf "$root$programs"/lib/{llvmjit.so,bitcode}
    for file in sh bash cat chmod chown install mkdir rm setpriv sleep; do
        cp --dereference "$(command -v "$file")" "$root/usr/bin/$file"
    done
    for file in "$programs"/bin/{initdb,postgres,pg_isready,psql}; do
        ln -s "$file" "$root/usr/bin/${file##*/}"
    done
    # Not everything that is there has libraries.
    { find -L "$root/usr/bin" "$root$programs/lib" -type f \( -perm /111 -o -name '*.so' \) -print0 |
        xargs -0 ldd 2>/dev/null || true; } | grep -o '/[^ :)]*\.so[^ :)]*' | sort -u >"$work/libraries"
    while read -r file; do
        [ -e "$root$file" ] || install -D "$file" "$root$file"
    done <"$work/libraries"
    # PostgreSQL runs as no user without a name.
    printf 'root:x:0:0::/:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n' >"$root/etc/passwd"
    install -D deploy/verify.d/postgres/start "$root/usr/local/bin/start"
    podman_here build --quiet --layers=false --format docker --file deploy/verify.d/postgres/Dockerfile \
        --tag "$1" "$context" >/dev/null
    echo "$1 is a stand-in made of this machine's $("$programs/bin/postgres" --version)"
}

# How many of the answers of what is called in turn at both front doors are good.
good_in_turn() {
    local path=$1 times=$2 good=0 number
    for number in $(seq "$times"); do
        base=${doors[number % 2]}
        if call GET "$path" >/dev/null 2>&1; then
            good=$((good + 1))
        fi
    done
    echo "$good"
}

all_ready() {
    for base in "${doors[@]}"; do
        curl -fsS --max-time 2 "$base/readyz" 2>/dev/null | grep -q '"status":"ok"' || return 1
    done
}

step_scale() {
    with_compose
    postgres_image postgres:17.6-bookworm
    local second files doors first waits path began refused readings
    second=$(free_port)
    override front-door worker scheduler postgres keys front-door-2
    # podman-compose overrides a list once only, so the second front door's port is set in a copy.
    sed -e "s|127.0.0.1:7072|127.0.0.1:$second|" -e "s|file: docker-compose.yml|file: $PWD/docker-compose.yml|" \
        docker-compose.scale.yml >"$work/scale.yml"
    token=$(openssl rand -hex 32)
    export COUNTERSIGN_ADMIN_TOKEN=$token
    COUNTERSIGN_DATABASE_PASSWORD=$(openssl rand -hex 32)
    export COUNTERSIGN_DATABASE_PASSWORD
    doors=("http://127.0.0.1:$port" "http://127.0.0.1:$second")
    files=(--file docker-compose.yml --file "$work/scale.yml" --file "$work/override.yml")
    # Health checks are run by systemd, which is not here, so nothing waits for the database: a part
    # that was too early ends, and is started again.
    compose "${files[@]}" up --detach --no-build >"$work/compose" 2>&1 &
    local up=$!
    for _ in $(seq 90); do
        ! all_ready || break
        podman_here ps --all --quiet --filter status=exited --filter name=${project}_front-door --filter name=${project}_worker |
            xargs --no-run-if-empty "$work/podman" start >/dev/null 2>&1 || true
        sleep 0.5
    done
    wait "$up" && all_ready || {
        cat "$work/compose"
        podman_here ps --all --format '{{.Names}} {{.Status}}'
        for part in front-door front-door-2 postgres keys; do
            podman_here logs --tail 5 "${project}_${part}_1" || true
        done
        fail "the front doors are not ready"
    }
    [ "$(podman_here ps --format '{{.Names}}' | grep -c "^${project}_worker_")" = 3 ] || fail "there are not three workers"

    base=${doors[0]}
    first=$(enroll first)
    base=${doors[1]}
    code "$first"
    enroll second >/dev/null
    # Made at one, known at the other; revoked there, refused here.
    local admin=$token reader
    reader=$(call POST /api/keys --data '{"name": "reader", "role": "reader", "grantedOnly": true}' | field key)
    base=${doors[0]}
    call POST /api/grants --data "{\"caller\": \"reader\", \"account\": \"$first\", \"reads\": 5}" >/dev/null
    path="/api/tokens?id=$first"
    token=$reader
    readings=$(good_in_turn "$path" 12)
    [ "$readings" = 5 ] || fail "of 5 granted readings, $readings were taken over both front doors"
    token=$admin
    call POST /api/grants --data "{\"caller\": \"reader\", \"account\": \"$first\"}" >/dev/null
    token=$reader
    base=${doors[1]}
    call GET "$path" >/dev/null
    base=${doors[0]} token=$admin
    call DELETE /api/keys/reader >/dev/null
    began=$(date +%s%N)
    base=${doors[1]} token=$reader
    until ! call GET "$path" >/dev/null 2>&1; do
        [ $(($(date +%s%N) - began)) -lt 1000000000 ] || fail "a key that was revoked at one front door reads at the other a second later"
    done
    refused=$((($(date +%s%N) - began) / 1000000))
    token=$admin

    # What waits survives everything but the second front door.
    base=${doors[0]}
    waits=$(call POST '/api/enrollments?approval=required' --data "$(uri waits)" | field id)
    local part parts=(${project}_worker_1 ${project}_worker_2 ${project}_worker_3 ${project}_scheduler_1 ${project}_front-door_1)
    for part in "${parts[@]}"; do
        podman_here kill --signal KILL "$part" >/dev/null
    done
    base=${doors[1]}
    code "$first"
    podman_here start ${project}_scheduler_1 ${project}_worker_2 ${project}_worker_3 >/dev/null
    until_answers "$base/readyz" '"status":"ok"'
    token=$(podman_here exec ${project}_front-door-2_1 /usr/local/bin/countersign key create second --role approver)
    call POST "/api/enrollments/$waits/approval" --data '{"approved": true}' >/dev/null
    token=$admin
    call GET "/api/enrollments/$waits?wait=30" | grep -q '"Enrolled"' || fail "what was under way is lost"
    podman_here start ${project}_front-door_1 ${project}_worker_1 >/dev/null
    base=${doors[0]}
    until_answers "$base/readyz" '"status":"ok"'
    code "$waits"

    # Without the database nothing is given out, and with it all goes on.
    podman_here kill --signal KILL ${project}_postgres_1 >/dev/null
    sleep 1.5
    for base in "${doors[@]}"; do
        [ "$(curl -s -o "$work/said" -w '%{http_code}' -H "Authorization: Bearer $token" "$base$path")" = 503 ] ||
            { cat "$work/said"; fail "a code was given out without the database"; }
    done
    podman_here start ${project}_postgres_1 >/dev/null
    for base in "${doors[@]}"; do
        until_answers "$base/readyz" '"status":"ok"'
        code "$first"
    done
    podman_here exec ${project}_front-door-2_1 /usr/local/bin/countersign audit verify
    compose "${files[@]}" down --volumes >"$work/compose" 2>&1
    echo "two front doors and three workers on one database: 5 readings counted over both, a revoked key was refused after $refused ms;" \
        "workers, scheduler, a front door and the database killed and started"
}
