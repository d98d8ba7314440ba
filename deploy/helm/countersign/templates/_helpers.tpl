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
