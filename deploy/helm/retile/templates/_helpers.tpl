{{/* Names are fixed: one retile owns a cluster's GPUs, and admission policies name its accounts. */}}
{{- define "retile.controllerAccount" -}}retile-controller{{- end }}
{{- define "retile.agentAccount" -}}retile-agent{{- end }}
{{- define "retile.agentNamespace" -}}{{ .Values.agent.namespace | default .Release.Namespace }}{{- end }}

{{- define "retile.controllerUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "retile.controllerAccount" . }}
{{- end }}

{{- define "retile.agentUser" -}}
system:serviceaccount:{{ include "retile.agentNamespace" . }}:{{ include "retile.agentAccount" . }}
{{- end }}

{{- define "retile.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "retile.labels" -}}
app.kubernetes.io/name: retile
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: retile
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Arguments: root, component. */}}
{{- define "retile.selector" -}}
app.kubernetes.io/name: retile
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Whether the profile allows to change nodes; "true" or empty. */}}
{{- define "retile.mayReshape" -}}{{ if ne .Values.profile "observe" }}true{{ end }}{{- end }}
{{- define "retile.mayEvict" -}}{{ if eq .Values.profile "full" }}true{{ end }}{{- end }}

{{/* A switch of never, auto, always. Arguments: root, create, kind (group/version/Kind). */}}
{{- define "retile.wanted" -}}
{{- if or (eq .create "always") (and (eq .create "auto") (.root.Capabilities.APIVersions.Has .kind)) }}true{{ end }}
{{- end }}

{{/* Namespaces from which nothing is ever evicted. */}}
{{- define "retile.protectedNamespaces" -}}
{{- $names := list "kube-system" .Release.Namespace (include "retile.agentNamespace" .) }}
{{- $names = concat $names .Values.devicePlugin.namespaces .Values.admissionPolicies.protectedNamespaces }}
{{- $names | uniq | sortAlpha | toJson }}
{{- end }}

{{/* A token of an hour for the API server alone, in place of the one that would be mounted by itself. */}}
{{- define "retile.tokenVolume" -}}
name: api-access
projected:
  defaultMode: 0440
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3600}
    - configMap:
        name: kube-root-ca.crt
        items: [{key: ca.crt, path: ca.crt}]
    - downwardAPI:
        items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end }}

{{- define "retile.tokenMount" -}}
{name: api-access, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{- define "retile.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}
