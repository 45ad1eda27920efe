{{/* Values that contradict each other are refused before anything is rendered. */}}
{{- define "retile.guard" -}}
{{- $spec := .Values.policy.spec }}
{{- if and .Values.policy.create (eq ($spec.mode | default "Observe") "Act") }}
{{- if eq .Values.profile "observe" }}
{{- fail "policy.spec.mode is Act, but profile `observe` gives no right to act: set profile to `reshape` or `full`" }}
{{- end }}
{{- if and (eq .Values.profile "reshape") (ne (($spec.disruption | default dict).level | default "IdleOnly") "IdleOnly") }}
{{- fail "policy.spec.disruption.level moves pods, but profile `reshape` gives no right to evict: set profile to `full`, or the level to IdleOnly" }}
{{- end }}
{{- end }}
{{- if and .Values.policy.create (eq ($spec.mode | default "Observe") "Recommend") (eq .Values.profile "observe") }}
{{- fail "policy.spec.mode is Recommend, but profile `observe` gives no right to carry an approved plan out: set profile to `reshape` or `full`" }}
{{- end }}
{{- if and (include "retile.mayReshape" .) .Values.policy.create (eq ($spec.clients | default "restart") "operator-pause") .Values.admissionPolicies.enabled (not .Values.controller.pauseClients) }}
{{- fail "policy.spec.clients is operator-pause, but the admission policy lets the controller pause nothing: set controller.pauseClients, or the field to restart" }}
{{- end }}
{{- if and (include "retile.mayReshape" .) (not .Values.agent.enabled) }}
{{- fail "profiles `reshape` and `full` need agents: set agent.enabled, or profile to `observe`" }}
{{- end }}
{{- end }}
