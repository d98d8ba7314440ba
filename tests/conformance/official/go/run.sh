#!/usr/bin/env bash
# Builds the suite against the official Go SDK, from the module proxy, and runs it.
# Arguments: names of features, or none for all. Verdicts go to standard output.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../lib.sh
source ../lib.sh

go_toolchain || die "Go: there is no go 1.21 or newer, and it could not be installed"
mkdir -p "$work/go"
cp suite.go harness.go "$work/go/"
if ! cmp -s module.txt "$work/go/module.txt"; then
    (
        cd "$work/go"
        rm -f go.mod go.sum
        go mod init durabletask.conformance/official
        retry go get "github.com/microsoft/durabletask-go@$(cat "$official/go/module.txt")"
        retry go mod tidy
    ) >&2 || die "Go: the official module could not be downloaded; is there a network?"
    cp module.txt "$work/go/module.txt"
fi
(cd "$work/go" && go build -o suite .) >&2
start_scheduler
timeout 1200 "$work/go/suite" "$@"
