#!/usr/bin/env bash
# Runs the official SDKs against a scheduler and prints what works: feature by SDK.
#
#   tests/conformance/official/run.sh [python] [js] [go] [java]     (default: all)
#
# Fails where a feature fails, is neither reported nor excluded, or passes although exclusions.tsv
# says that it cannot.
#   CONFORMANCE_CONNECTION_STRING  a scheduler that runs already; default: ours, started for each SDK
#   CONFORMANCE_SCHEDULER          our binary; default: built by cargo
#   CONFORMANCE_JAVA_SOURCE        a checkout of the Java SDK's repository, v1.9.0 or later, instead of
#                                  what is on Maven Central
#   CONFORMANCE_RECORD             1: puts what the clients send into recorded.tsv instead of comparing
#   CONFORMANCE_WORK               where SDKs are installed; default: target/conformance
#   CONFORMANCE_OPTIONAL           languages that may be left out, with a warning, where their SDK or
#                                  toolchain cannot be installed; default: none
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=lib.sh
source ./lib.sh

[ $# -gt 0 ] || set -- python js go java
results=$work/results.tsv
: >"$results"
sdks=()
broken=0
for language in "$@"; do
    case $language in
        python) columns=(python python-azuremanaged) ;;
        java) columns=("java${CONFORMANCE_JAVA_SOURCE:+-1.9}") ;;
        js | go) columns=("$language") ;;
        *) die "no such language: $language (python, js, go, java)" ;;
    esac
    say "== official SDK: $language"
    status=0
    "./$language/run.sh" >"$work/$language.out" || status=$?
    if [ "$status" = 69 ] && [[ " ${CONFORMANCE_OPTIONAL:-} " == *" $language "* ]]; then
        say "conformance: WARNING: $language is left out, since it could not be installed"
        continue
    fi
    if [ "$status" != 0 ]; then
        say "conformance: the $language runner ended with status $status"
        broken=1
    fi
    sdks+=("${columns[@]}")
    grep '^RESULT' "$work/$language.out" >>"$results" || true
done

awk -F '\t' -v sdks="${sdks[*]}" '
    FILENAME ~ /features.tsv$/ { if (NF) { order[++rows] = $1 } next }
    FILENAME ~ /exclusions.tsv$/ { if ($0 !~ /^#/ && NF >= 3) { excluded[$1, $2] = $3 } next }
    { verdict[$2, $3] = $4; detail[$2, $3] = $5 }
    END {
        count = split(sdks, names, " ")
        printf "%-22s", "feature"
        for (s = 1; s <= count; s++) printf "  %-19s", names[s]
        print ""
        for (r = 1; r <= rows; r++) {
            printf "%-22s", order[r]
            for (s = 1; s <= count; s++) {
                sdk = names[s]
                key = sdk SUBSEP order[r]
                if (key in excluded) {
                    cell = "-"
                    notes = notes sprintf("- %s, %s: %s\n", sdk, order[r], excluded[key])
                    left_out++
                    if (verdict[key] == "pass") {
                        cell = "PASSES, EXCLUDED"
                        wrong++
                    }
                } else if (verdict[key] == "pass") {
                    cell = "yes"
                    passed++
                } else {
                    cell = (key in verdict) ? "FAILS" : "NOT REPORTED"
                    errors = errors sprintf("%s, %s: %s\n", sdk, order[r], detail[key])
                    wrong++
                }
                printf "  %-19s", cell
            }
            print ""
        }
        if (notes) printf "\nLeft out, with the reason:\n%s", notes
        if (errors) printf "\nFailures:\n%s", errors
        printf "\n%d passed, %d failed, %d skipped\n", passed, wrong, left_out
        exit wrong > 0
    }' features.tsv exclusions.tsv "$results" || broken=1
exit "$broken"
