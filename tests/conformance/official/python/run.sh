#!/usr/bin/env bash
# Installs the official Python packages into a throwaway environment and runs the suite.
# Arguments: names of features, or none for all. Verdicts go to standard output.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../lib.sh
source ../lib.sh

python_environment
start_scheduler
timeout 1200 "$work/venv/bin/python" suite.py "$@"
if [ $# = 0 ]; then
    for package in python python-azuremanaged; do
        recorded "$package" "$work/venv/bin/python" defaults.py "$package"
    done
fi
