#!/usr/bin/env bash
# Builds the suite against the official Go SDK, from the module proxy, and runs it.
# Arguments: names of features, or none for all. Verdicts go to standard output.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../lib.sh
source ../lib.sh

go_module
cp ./*.go "$work/go/"
(cd "$work/go" && go build -o suite .) >&2
start_scheduler
timeout 1200 "$work/go/suite" "$@"
if [ $# = 0 ]; then
    recorded go "$work/go/suite" defaults
fi
