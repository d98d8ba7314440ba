# Chart and manifests applied to a control plane of Kubernetes: an API server with its admission and
# the controllers that create pods. There is no node, so no pod runs.
# shellcheck shell=bash

control_plane=$tools/control-plane
kubernetes_server=v1.34.4

find_control_plane() {
    if [ ! -x "$control_plane/kube-controller-manager" ] || [ "$("$control_plane/version" 2>/dev/null)" != $kubernetes_server ]; then
        [ -n "$long" ] || leave_out "there is no API server, and the short form does not compile one"
        command -v go >/dev/null || leave_out "there is no API server, and no Go to compile one with"
        local version=k8s.io/component-base/version
        (
            cd deploy/verify.d/control-plane
            GOBIN=$control_plane GOFLAGS=-mod=readonly CGO_ENABLED=0 go install -trimpath -ldflags \
                "-s -w -X $version.gitVersion=$kubernetes_server -X $version.gitMajor=1 -X $version.gitMinor=34" \
                go.etcd.io/etcd/server/v3 k8s.io/kubernetes/cmd/kube-apiserver \
                k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kubectl >&2
        ) || leave_out "the API server could not be compiled"
        # Last, so that one that was interrupted is compiled again.
        printf '#!/bin/sh\necho %s\n' $kubernetes_server >"$control_plane/version"
        chmod +x "$control_plane/version"
    fi
}

stop_control_plane() {
    # The shell's own jobs only. What they keep is removed, so they need not end in order.
    {
        jobs -p | xargs --no-run-if-empty kill -KILL
        wait
    } 2>/dev/null || true
}

start_control_plane() {
    local at=$work/cluster store peer api
    store=http://127.0.0.1:$(free_port)
    peer=http://127.0.0.1:$(free_port)
    api=$(free_port)
    mkdir -p "$at"
    openssl genpkey -algorithm RSA -out "$at/accounts.key" 2>/dev/null
    printf '%s,operator,1,"system:masters"\n' "$(openssl rand -hex 16)" >"$at/tokens.csv"
    trap stop_control_plane EXIT
    "$control_plane/server" --data-dir "$at/etcd" --listen-client-urls "$store" --advertise-client-urls "$store" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" \
        --unsafe-no-fsync --log-level error >"$at/etcd.log" 2>&1 &
    "$control_plane/kube-apiserver" --etcd-servers "$store" --bind-address 127.0.0.1 --secure-port "$api" \
        --cert-dir "$at/certificates" --service-account-issuer https://kubernetes.default.svc \
        --service-account-key-file "$at/accounts.key" --service-account-signing-key-file "$at/accounts.key" \
        --service-cluster-ip-range 10.0.0.0/24 --authorization-mode RBAC --token-auth-file "$at/tokens.csv" \
        >"$at/api.log" 2>&1 &
    cat >"$at/config" <<YAML
apiVersion: v1
kind: Config
clusters: [{ name: here, cluster: { server: "https://127.0.0.1:$api", certificate-authority: "$at/certificates/apiserver.crt" } }]
users: [{ name: operator, user: { token: "$(cut -d, -f1 "$at/tokens.csv")" } }]
contexts: [{ name: here, context: { cluster: here, user: operator } }]
current-context: here
YAML
    export KUBECONFIG=$at/config
    for _ in $(seq 240); do
        kubectl get --raw /readyz >/dev/null 2>&1 && break
        sleep 0.25
    done
    kubectl get --raw /readyz >/dev/null || { tail -n 20 "$at/api.log" >&2; fail "the API server never became ready"; }
    "$control_plane/kube-controller-manager" --kubeconfig "$KUBECONFIG" --leader-elect=false \
        --service-account-private-key-file "$at/accounts.key" --use-service-account-credentials \
        --bind-address 127.0.0.1 --secure-port "$(free_port)" --cert-dir "$at/certificates" \
        >"$at/controllers.log" 2>&1 &
}

kubectl() { "$control_plane/kubectl" "$@"; }

# Waits until controllers have created the pods of an object, which admission has then let through.
until_pods() {
    local namespace=$1 object=$2 count=$3
    kubectl --namespace "$namespace" wait "$object" --for="jsonpath={.status.${4:-replicas}}=$count" --timeout=60s >/dev/null || {
        kubectl --namespace "$namespace" get events >&2
        fail "$object has no $count pods"
    }
}

step_cluster() {
    needs openssl:openssl
    find_helm
    find_control_plane
    start_control_plane
    echo "API server $kubernetes_server is ready"

    # The manifest, with its placeholders filled in. The namespace enforces `restricted`.
    sed -e 's/"<host>"/totp.example.com/; s/<host>/totp.example.com/; s/<registry>/registry.example.com/; s/<version>/1.0.0/' \
        deploy/kubernetes/countersign.yaml >"$work/manifest.yaml"
    kubectl apply --server-side --filename "$work/manifest.yaml"
    until_pods countersign deployment/worker 2
    until_pods countersign statefulset/front-door 2
    until_pods countersign job/migration 1 active
    # Applied again, nothing changes.
    kubectl diff --server-side --filename "$work/manifest.yaml" >/dev/null ||
        fail "the manifest differs from what was made of it"
    # What the namespace does not take is refused, so that the above says something.
    if kubectl --namespace countersign run root --image=registry.example.com/root:1 2>"$work/said"; then
        fail "the namespace takes a pod that may run as root"
    fi
    grep -q 'violates PodSecurity "restricted' "$work/said" || { cat "$work/said"; fail "a pod that may run as root is refused for another reason"; }

    # The chart: installed, upgraded, rolled back and removed, in namespaces that enforce the same.
    least=(--set host=totp.example.com --set ingress.trustedProxies=10.0.0.0/8)
    shared=("${least[@]}" --set keyFiles.frontDoor=front-door-keys --set keyFiles.worker=worker-keys
        --set database.secret=main-app --set database.key=uri --set database.migration.secret=main-owner
        --set 'database.migration.grantTo={app}')
    for name in least shared; do
        kubectl create namespace "$name" >/dev/null
        kubectl label namespace "$name" pod-security.kubernetes.io/enforce=restricted >/dev/null
    done
    "$HELM" install countersign deploy/helm/countersign --namespace least "${least[@]}" >/dev/null
    for part in worker front-door scheduler; do
        until_pods least "deployment/$part" 1
    done
    "$HELM" upgrade countersign deploy/helm/countersign --namespace least "${least[@]}" --set worker.replicas=3 >/dev/null
    until_pods least deployment/worker 3
    "$HELM" rollback countersign 1 --namespace least >/dev/null
    "$HELM" uninstall countersign --namespace least --wait=false >/dev/null

    # Hooks are jobs, which no node runs.
    "$HELM" install countersign deploy/helm/countersign --namespace shared "${shared[@]}" --no-hooks \
        --set frontDoor.autoscaling.enabled=true --set worker.autoscaling.enabled=true >/dev/null
    for part in deployment/worker statefulset/front-door; do
        # The autoscaler raises them to its least number; it has no metrics here.
        until_pods shared "$part" "$(kubectl --namespace shared get "hpa/${part#*/}" --output jsonpath='{.spec.minReplicas}')"
    done
    kubectl --namespace shared get horizontalpodautoscaler,poddisruptionbudget,networkpolicy,ingress --output name
    stop_control_plane
    trap - EXIT
    without "no node: the pods were created and did not run"
}
