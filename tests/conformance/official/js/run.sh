#!/usr/bin/env bash
# Installs the official JavaScript SDK into a throwaway folder and runs the suite.
# Arguments: names of features, or none for all. Verdicts go to standard output.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../lib.sh
source ../lib.sh

need node nodejs || unavailable "JavaScript: there is no node, and it could not be installed"
need npm npm || unavailable "JavaScript: there is no npm, and it could not be installed"
if ! cmp -s package.json "$work/js/package.json"; then
    rm -rf "$work/js"
    mkdir -p "$work/js"
    # Copied last: the copy says that the installation is whole.
    cp package.json "$work/js/package.json.new"
    (cd "$work/js" && cp package.json.new package.json && retry npm install --no-audit --no-fund --ignore-scripts --loglevel=error >&2) \
        || { rm -rf "$work/js"; unavailable "JavaScript: the official package could not be downloaded; is there a network?"; }
fi
cp harness.js suite.js "$work/js/"
start_scheduler
timeout 1200 node "$work/js/suite.js" "$@"
