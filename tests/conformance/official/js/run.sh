#!/usr/bin/env bash
# Installs the official JavaScript SDK into a throwaway folder and runs the suite.
# Arguments: names of features, or none for all. Verdicts go to standard output.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../lib.sh
source ../lib.sh

node_packages js . JavaScript
cp ./*.js "$work/js/"
start_scheduler
timeout 1200 node "$work/js/suite.js" "$@"
if [ $# = 0 ]; then
    recorded js node "$work/js/defaults.js"
fi
