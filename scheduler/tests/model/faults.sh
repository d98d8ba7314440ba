#!/usr/bin/env bash
# Puts each fault of faults/ back into a copy of this work tree, and fails where the tests
# that its first line names do not find it.
#
#   scheduler/tests/model/faults.sh [fault.patch ...]     (default: all)
#
# MODEL_CASES (default 3000) sets how many cases the model has for it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
[ $# -gt 0 ] || set -- "$here"/faults/*.patch
export MODEL_CASES=${MODEL_CASES:-3000} MODEL_SHORTEN=0 RUST_BACKTRACE=0
# The copy is always at the same place, so that what a fault does not touch is built once.
copy=$root/target/faults/copy
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
rm -rf "$copy"
mkdir -p "$copy"
(cd "$root" && git ls-files -z --cached --others --exclude-standard |
    xargs -0 cp --parents -t "$copy")
cd "$copy"

missed=()
for fault in "$@"; do
    fault=$(realpath "$fault")
    name=$(basename "$fault" .patch)
    tests=$(sed -n '1s/^Found by: cargo test //p' "$fault")
    [ -n "$tests" ] || { printf '%s names no tests\n' "$name" >&2; exit 1; }
    patch --quiet --strip=1 --fuzz=3 <"$fault"
    log=$root/target/faults/$name.log
    # shellcheck disable=SC2086
    if cargo test --quiet $tests >"$log" 2>&1; then
        printf 'NOT FOUND  %s by cargo test %s\n' "$name" "$tests"
        missed+=("$name")
    elif grep -q 'could not compile' "$log"; then
        # A fault that does not even compile would be found by nobody.
        printf '%s does not compile: %s\n' "$name" "$log" >&2
        exit 1
    else
        printf 'found      %s\n' "$name"
    fi
    patch --quiet --strip=1 --fuzz=3 --reverse <"$fault"
    find . -name '*.orig' -delete
done
[ ${#missed[@]} = 0 ]
