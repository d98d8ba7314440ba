# Azure's templates: compiled, linted and predicted where there is a Bicep compiler.
# shellcheck shell=bash

step_azure() {
    sh -n deploy/azure/install
    # What it takes from the deployment is what the deployment says.
    comm -3 <(sed -n 's/^output \([A-Za-z]*\) .*/\1/p' deploy/azure/main.bicep | sort) \
        <(grep -o '"\${[a-z][A-Za-z]*:?' deploy/azure/install | tr -dc 'A-Za-z\n' | sort -u) >"$work/differing"
    [ ! -s "$work/differing" ] || { cat "$work/differing"; fail "deploy/azure/install and main.bicep's outputs differ"; }
    # What stands in angle brackets is to be filled in with them too.
    for output in $(grep -o '<[A-Za-z]*>' deploy/helm/manifest.yaml | tr -d '<>' | sort -u); do
        case $output in
            host | version | registry) ;;
            *) grep -q "^output $output " deploy/azure/main.bicep || fail "$output is no output of main.bicep" ;;
        esac
    done
    if ! command -v bicep >/dev/null; then
        python_tool tree-sitter==0.26.1 tree-sitter-bicep==1.1.0
        "$tools/python/bin/python" - deploy/azure/*.bicep <<'PYTHON'
import re, sys
from tree_sitter import Language, Parser
import tree_sitter_bicep
parser = Parser(Language(tree_sitter_bicep.language()))
def wrong(node):
    if node.type == "ERROR" or node.is_missing:
        yield node
    for child in node.children:
        yield from wrong(child)
for path in sys.argv[1:]:
    text = open(path, "rb").read()
    for node in wrong(parser.parse(text).root_node):
        sys.exit(f"{path}:{node.start_point[0] + 1}: this is not Bicep")
    # What otherwise only a compiler would notice: modules that are not given their parameters.
    for module in re.finditer(rb"^module \w+ '([^']+)' = \{\n(.*?)^\}", text, re.M | re.S):
        name = module[1].decode()
        wanted = set(re.findall(r"^param (\w+) (?!.*=)", open(f"deploy/azure/{name}").read(), re.M))
        given = set(re.findall(r"(?:[{,]|^) *(\w+):", module[2].decode().split("params: {")[1], re.M))
        if wanted - given:
            sys.exit(f"{path}: {name} lacks {sorted(wanted - given)}")
PYTHON
        echo "the syntax is Bicep's, and modules are given their parameters"
        without "no Bicep compiler is on the path, so only the syntax was checked"
        return
    fi
    for file in deploy/azure/*.bicep; do
        bicep build --stdout "$file" >/dev/null
        bicep lint "$file"
    done
    cp -r deploy/azure "$work/azure"
    bicep build-params --stdout "$work/azure/main.bicepparam" >/dev/null
    if [ -f deploy/azure/main.snapshot.json ]; then
        bicep snapshot "$work/azure/main.bicepparam" --mode validate
    else
        without "no predicted deployment (main.snapshot.json) is kept yet to compare with: \
\`bicep snapshot deploy/azure/main.bicepparam\` makes one"
    fi
}
