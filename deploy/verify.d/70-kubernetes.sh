# Chart and manifests: rendered, linted, and checked against Kubernetes' own schemas.
# shellcheck shell=bash

helm_version=v3.22.0
kubernetes_versions="1.29 1.33 1.37"

find_helm() {
    if [ -z "${HELM-}" ]; then
        HELM=$(command -v helm || true)
        [ -n "$HELM" ] || HELM=$tools/bin/helm
    fi
    export HELM
    [ -x "$HELM" ] && return
    [ -n "$long" ] || leave_out "there is no helm, and the short form does not compile it"
    command -v go >/dev/null || leave_out "there is no helm, and no Go to compile it with"
    GOBIN=$tools/bin CGO_ENABLED=0 go install "helm.sh/helm/v3/cmd/helm@$helm_version" >&2 ||
        leave_out "helm could not be compiled"
}

check_schemas() {
    for version in $kubernetes_versions; do
        "$tools/python/bin/kubernetes-validate" --strict --kubernetes-version "$version" "$1" >"$work/checked" 2>&1 ||
            { cat "$work/checked"; fail "$1 is not what Kubernetes $version takes"; }
    done
    printf '%s: %s objects are what Kubernetes %s take\n' "$(basename "$1")" "$(wc -l <"$work/checked")" "$kubernetes_versions"
}

# What the namespace enforces, for every pod.
check_restricted() {
    "$tools/python/bin/python" - "$1" <<'PYTHON'
import sys, yaml
kinds = []
for one in yaml.safe_load_all(open(sys.argv[1])):
    if not one or one["kind"] not in ("Deployment", "StatefulSet", "Job", "DaemonSet", "Pod"):
        continue
    kinds.append(one["kind"])
    spec = one["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert not spec.get("hostNetwork") and not spec.get("hostPID")
    for container in spec.get("initContainers", []) + spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False and context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] and container["resources"]["limits"]["memory"]
    for container in spec["containers"]:
        assert one["kind"] == "Job" or ("livenessProbe" in container and "startupProbe" in container)
    assert all(set(volume) <= {"name", "persistentVolumeClaim", "emptyDir", "secret"} for volume in spec.get("volumes", []))
assert len(kinds) >= 2, kinds
PYTHON
}

step_kubernetes() {
    python_tool kubernetes-validate==1.37.0
    check_schemas deploy/kubernetes/countersign.yaml
    check_restricted deploy/kubernetes/countersign.yaml
    find_helm
    deploy/kubernetes/generate --check
    render() {
        local name=$1
        shift
        "$HELM" lint --quiet --strict --kube-version 1.33.0 deploy/helm/countersign "$@"
        "$HELM" template countersign deploy/helm/countersign --namespace countersign \
            --kube-version 1.33.0 "$@" >"$work/$name.yaml"
        check_schemas "$work/$name.yaml"
        check_restricted "$work/$name.yaml"
    }
    least=(--set host=totp.example.com --set ingress.trustedProxies=10.0.0.0/8)
    render least "${least[@]}"
    render azure --values deploy/helm/azure.yaml --values deploy/helm/manifest.yaml
    render all "${least[@]}" --set worker.autoscaling.enabled=true --set frontDoor.keepOnDrain=true \
        --set networkPolicy.metricsNamespace=monitoring --set persistence.existingClaim=mine \
        --set image.pullSecrets={registry} --set nodeSelector.disk=fast \
        --set worker.settings.COUNTERSIGN_LOG=debug --set-string frontDoor.settings.COUNTERSIGN_REQUIRE_PROOF=true
    render bare --set host=totp.example.com --set ingress.enabled=false --set networkPolicy.enabled=false
    key_files="--set keyFiles.frontDoor=front-door-keys --set keyFiles.worker=worker-keys"
    render database "${least[@]}" $key_files --set database.secret=main-app --set database.key=uri \
        --set database.caSecret=main-ca --set networkPolicy.database.namespace=databases \
        --set frontDoor.autoscaling.enabled=true --set worker.autoscaling.enabled=true \
        --set database.migration.secret=main-owner --set 'database.migration.grantTo={app}'
    render own "${least[@]}" $key_files --set database.secret=address --set frontDoor.replicas=3 \
        --set database.migration.enabled=false --set networkPolicy.enabled=false
    # Each alone is refused, with a word for it.
    for wrong in --set=worker.replicas=0 --set=wroker.replicas=2 --set=image.tag=latest \
        --set=frontDoor.settings.PATH=/ --set=ingress.trustedProxies= --set=host= \
        --set=frontDoor.replicas=2 --set=frontDoor.autoscaling.enabled=true --set=database.secret=address \
        --set=database.host=x.postgres.database.azure.com --set=keyFiles.worker=worker-keys \
        --set=database.secret=address,database.host=x,keyFiles.worker=a,keyFiles.frontDoor=b \
        --set=database.secret=address,keyVault.accounts=v,worker.settings.COUNTERSIGN_WEBHOOK_URL=https://x; do
        if "$HELM" template countersign deploy/helm/countersign --kube-version 1.33.0 "${least[@]}" "$wrong" >/dev/null 2>"$work/said"; then
            fail "the chart takes $wrong"
        fi
        grep -Eq "values don't meet|values.schema|fail|: .*(host|trustedProxies|replicas|database|keyFiles)" "$work/said" ||
            { cat "$work/said"; fail "it does not say what is wrong with $wrong"; }
    done
}
