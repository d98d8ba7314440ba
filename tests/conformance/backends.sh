#!/usr/bin/env bash
# Runs the suite of the Rust SDK against our scheduler and against the backends of others, which it
# installs and starts, and prints a table, feature by backend.
#
#   tests/conformance/backends.sh [python] [go] [blobs]     (default: all)
#
# `blobs` is Azurite, for large payloads in Azure Blob Storage: rows more, against every backend.
# DTS_CONNECTION_STRING adds a hosted scheduler or its emulator. CONFORMANCE_WORK and
# CONFORMANCE_OPTIONAL mean what they mean to official/run.sh.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=official/lib.sh
source official/lib.sh

[ $# -gt 0 ] || set -- python go blobs
serving

# optional NAME COMMAND...: installs something, in a shell of its own, so that what cannot be
# installed is not the end of this one where CONFORMANCE_OPTIONAL forgives it.
optional() {
    local name=$1 status=0
    shift
    ("$@") || status=$?
    if [ "$status" = 69 ] && [[ " ${CONFORMANCE_OPTIONAL:-} " == *" $name "* ]]; then
        say "conformance: WARNING: $name is left out, since it could not be installed"
        return 1
    fi
    [ "$status" = 0 ] || exit "$status"
}

for backend in "$@"; do
    case $backend in
        python)
            python_environment
            serve python "$work/venv/bin/python" python_backend.py
            export CONFORMANCE_PYTHON_BACKEND=$said
            # The same environment runs the other half of the mixed fleets.
            export CONFORMANCE_PYTHON=$work/venv/bin/python
            ;;
        go)
            optional go go_sidecar || continue
            serve go "$work/go/sidecar" --host 127.0.0.1 --port 0 --db "$scratch/sidecar.sqlite3"
            export CONFORMANCE_GO_SIDECAR="Endpoint=http://${said##* };TaskHub=default;Authentication=None"
            ;;
        blobs)
            optional blobs node_packages azurite azurite Azurite || continue
            # The clients ask for newer versions of the service's API than Azurite knows; what is
            # used of it is old.
            serve blobs node "$work/azurite/node_modules/azurite/dist/src/blob/main.js" --blobHost 127.0.0.1 \
                --blobPort 0 --inMemoryPersistence --skipApiVersionCheck --disableTelemetry
            # Azurite's own account, whose key is public.
            export CONFORMANCE_BLOBS="AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;DefaultEndpointsProtocol=http;BlobEndpoint=${said##* }/devstoreaccount1"
            ;;
        *) die "no such backend: $backend (python, go, blobs)" ;;
    esac
done
cd "$root"
cargo test --workspace --locked --test backends
