# What is in the program: licenses and SBOM.
# shellcheck shell=bash

step_supply() {
    command -v cargo >/dev/null || leave_out "there is no cargo to read Cargo.lock with"
    deploy/supply/inventory licenses --check
    "$countersign" licenses >"$work/licenses"
    cat LICENSE <(echo) licenses/THIRD-PARTY.txt | cmp - "$work/licenses" ||
        fail "\`countersign licenses\` prints something else than is kept: build it again"
    for package in countersign durabletask-scheduler-cli; do
        deploy/supply/inventory sbom "$package" >"$work/sbom"
        deploy/supply/inventory sbom "$package" | cmp - "$work/sbom"
        python3 - "$work/sbom" "$package" <<'PYTHON'
import json, sys
document = json.load(open(sys.argv[1]))
refs = {one["bom-ref"] for one in document["components"]}
refs.add(document["metadata"]["component"]["bom-ref"])
for one in document["dependencies"]:
    assert one["ref"] in refs and refs.issuperset(one["dependsOn"]), one
print(f"SBOM of {sys.argv[2]}: {len(refs)} components")
PYTHON
    done
    echo "licenses of $(grep -c '^=====' licenses/THIRD-PARTY.txt) kinds of text are in the program"
}
