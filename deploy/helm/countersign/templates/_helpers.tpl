{{- define "countersign.labels" -}}
app.kubernetes.io/name: countersign
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "countersign.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "countersign.connection" -}}
{{- if .Values.taskHub.connectionString -}}
{{ .Values.taskHub.connectionString }}
{{- else -}}
Endpoint=http://scheduler:8080;TaskHub=default;Authentication=None
{{- end }}
{{- end }}

{{- define "countersign.claim" -}}
{{ .Values.persistence.existingClaim | default "data" }}
{{- end }}

{{- /* What every pod of ours may do, which is nothing: `restricted`, and a user of its own. */ -}}
{{- define "countersign.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
# Every time would let the group read the keys, and the program then refuses them.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "countersign.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "countersign.placement" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "countersign.settings" -}}
{{- range $name, $value := . }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end }}

{{- /* Whether front doors and workers share a database: "true", or nothing. */ -}}
{{- define "countersign.shared" -}}
{{- if or .Values.database.secret .Values.database.host }}true{{ end }}
{{- end }}

{{- /* What a schema of the values cannot say. */ -}}
{{- define "countersign.check" -}}
{{- $database := .Values.database }}
{{- $keyFiles := .Values.keyFiles }}
{{- if include "countersign.shared" . }}
{{- if and $database.secret $database.host }}
{{- fail "database.secret and database.host: set one of them, the address with a password or the host that identities log in to" }}
{{- end }}
{{- if $database.host }}
{{- $_ := required "database.frontDoorUser: the database's user for the front door's identity" $database.frontDoorUser }}
{{- $_ := required "database.workerUser: the database's user for the worker's identity" $database.workerUser }}
{{- if $database.migration.enabled }}
{{- $_ := required "database.migration.user: the database's user for the migration's identity" $database.migration.user }}
{{- end }}
{{- end }}
{{- if and (not .Values.keyVault.accounts) (not (and $keyFiles.frontDoor $keyFiles.worker)) }}
{{- fail "keyFiles.frontDoor and keyFiles.worker: with a database and without Key Vault, the installation's keys come from secrets" }}
{{- end }}
{{- if and .Values.worker.settings.COUNTERSIGN_WEBHOOK_URL (not $keyFiles.worker) }}
{{- fail "keyFiles.worker: several workers sign notices with one key, which has to be in this secret as webhook-secret" }}
{{- end }}
{{- else }}
{{- if or (gt (int .Values.frontDoor.replicas) 1) .Values.frontDoor.autoscaling.enabled }}
{{- fail "frontDoor.replicas: several front doors need a database (database.secret or database.host)" }}
{{- end }}
{{- if or $keyFiles.frontDoor $keyFiles.worker }}
{{- fail "keyFiles: without a database the keys are on the volume" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The address of the database, for a user of its own where identities log in. */ -}}
{{- define "countersign.database" -}}
{{- $database := .root.Values.database }}
{{- if $database.host -}}
- { name: COUNTERSIGN_DATABASE_URL, value: "postgresql://{{ .user }}@{{ $database.host }}/{{ $database.name }}" }
- { name: COUNTERSIGN_DATABASE_IDENTITY, value: "true" }
{{- else -}}
- name: {{ ternary "DATABASE_ADDRESS" "COUNTERSIGN_DATABASE_URL" (ne $database.caSecret "") }}
  valueFrom: { secretKeyRef: { name: {{ .secret | default $database.secret }}, key: {{ .key | default $database.key }} } }
{{- if $database.caSecret }}
- { name: COUNTERSIGN_DATABASE_URL, value: "$(DATABASE_ADDRESS)?sslrootcert=/database-ca/ca.crt" }
{{- end }}
{{- end }}
{{- end }}

{{- define "countersign.databaseVolume" -}}
{{- with .Values.database.caSecret }}
- { name: database-ca, secret: { secretName: {{ . }}, items: [{ key: ca.crt, path: ca.crt }] } }
{{- end }}
{{- end }}

{{- define "countersign.databaseMount" -}}
{{- if .Values.database.caSecret }}
- { name: database-ca, mountPath: /database-ca, readOnly: true }
{{- end }}
{{- end }}

{{- /* Kubernetes lets a group read the files of a secret, and the program refuses such keys. */ -}}
{{- define "countersign.copyKeyFiles" -}}
- name: key-files
  image: {{ .Values.keyFiles.image | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command:
    - sh
    - -euc
    - mkdir -p -m 0700 /data/countersign; for file in /key-files/*; do install -m 0600 "$file" /data/countersign/; done
  resources:
    requests: { cpu: 10m, memory: 16Mi }
    limits: { memory: 32Mi }
  securityContext: {{ include "countersign.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - { name: data, mountPath: /data }
    - { name: key-files, mountPath: /key-files, readOnly: true }
{{- end }}

{{- /* One node or zone that is lost takes as few as possible with it. */ -}}
{{- define "countersign.spread" -}}
topologySpreadConstraints:
  {{- $part := . }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: { matchLabels: { app: {{ $part }} } }
  {{- end }}
{{- end }}

{{- define "countersign.autoscaler" }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .part }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ include "countersign.labels" .root | nindent 4 }}
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: {{ .kind }}, name: {{ .part }} }
  minReplicas: {{ .scale.minReplicas }}
  maxReplicas: {{ .scale.maxReplicas }}
  metrics:
    - type: Resource
      resource: { name: cpu, target: { type: Utilization, averageUtilization: {{ .scale.targetCPU }} } }
{{- end }}

{{- /* Names, and by TLS what is outside: Entra, Key Vault, a hosted scheduler, an issuer of tokens. */ -}}
{{- define "countersign.toOutside" -}}
- to:
    - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: kube-system } }
      podSelector: { matchLabels: { k8s-app: kube-dns } }
  ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
- ports: [{ port: 443, protocol: TCP }]
{{- end }}

{{- define "countersign.toDatabase" -}}
{{- $to := .Values.networkPolicy.database }}
- ports: [{ port: {{ $to.port }}, protocol: TCP }]
  {{- if or $to.network $to.namespace }}
  to:
    {{- with $to.network }}
    - ipBlock: { cidr: {{ . | quote }} }
    {{- end }}
    {{- with $to.namespace }}
    - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ . }} } }
    {{- end }}
  {{- end }}
{{- end }}
