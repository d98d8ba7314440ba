# From the program of the release before to this one and back, on the same data.
# shellcheck shell=bash

# The program of a commit, compiled once.
program_of() {
    local commit folder
    commit=$(git rev-parse --verify --quiet "$1^{commit}") || leave_out "$1 is no commit here"
    folder=$tools/before/$commit
    if [ ! -x "$folder/countersign" ]; then
        command -v cargo >/dev/null || leave_out "there is no cargo to compile $1 with"
        mkdir -p "$work/before" "$folder"
        git archive "$commit" | tar -C "$work/before" -x
        (cd "$work/before" && CARGO_TARGET_DIR=$tools/before/target cargo build --locked --quiet -p countersign) ||
            leave_out "$1 could not be compiled"
        cp "$tools/before/target/debug/countersign" "$folder/countersign"
    fi
    BEFORE=$folder/countersign
}

step_upgrade() {
    [ -n "${BEFORE-}" ] || [ -z "${BEFORE_COMMIT-}" ] || program_of "$BEFORE_COMMIT"
    [ -n "${BEFORE-}" ] || leave_out "neither BEFORE nor BEFORE_COMMIT names the program before"
    data=$work/upgrade
    token=
    serve() {
        : >"$work/served"
        "$1" serve --data-dir "$data" --listen 127.0.0.1:0 --scheduler-listen 127.0.0.1:0 \
            --dashboard-listen none >"$work/served" 2>&1 &
        server=$!
        for _ in $(seq 240); do
            base=$(sed -n 's/^Countersign is ready at \(.*\)/\1/p' "$work/served")
            [ -z "$base" ] || break
            sleep 0.25
        done
        [ -n "$base" ] || { cat "$work/served"; fail "$1 does not start"; }
        token=$(cat "$data/admin-token")
    }
    end() { kill "$server" && wait "$server"; }
    approve() {
        local admin=$token
        token=$approver
        call POST "/api/enrollments/$1/approval" --data '{"approved": true}' >/dev/null
        token=$admin
        call GET "/api/enrollments/$1?wait=30" | grep -q '"Enrolled"' || fail "$1 is lost"
        code "$1"
    }
    ask() { call POST '/api/enrollments?approval=required' --data "$(uri "$1")" | field id; }

    serve "$BEFORE"
    approver=$("$BEFORE" key create second --role approver --data-dir "$data")
    reader=$("$BEFORE" key create reads --role reader --granted-only --data-dir "$data")
    kept=$(enroll kept)
    "$BEFORE" grant add reads "$kept" --data-dir "$data" >/dev/null
    one=$(ask one)
    two=$(ask two)
    end

    serve "$countersign"
    code "$kept"
    approve "$one"
    three=$(ask three)
    made=$(enroll made-after)
    end
    "$countersign" audit verify --data-dir "$data"

    serve "$BEFORE"
    for id in "$kept" "$one" "$made"; do
        code "$id"
    done
    approve "$two"
    approve "$three"
    token=$reader
    code "$kept"
    end
    "$BEFORE" audit verify --data-dir "$data"
    echo "upgraded from $("$BEFORE" --version) and rolled back: accounts, enrollments under way, keys, grants and audit log are whole"
}
