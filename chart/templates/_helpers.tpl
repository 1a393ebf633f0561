{{/* Short name of the chart, at most 63 characters as a label allows. */}}
{{- define "raft.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
Name of the StatefulSet and the stem of all other names: the release's name, behind it the chart's unless it is in it.
40 characters leave room for "-headless" and the pod's number in a label of DNS.
*/}}
{{- define "raft.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "raft.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "raft.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "raft.headless" -}}{{ include "raft.fullname" . }}-headless{{- end -}}

{{- define "raft.service" -}}service-{{ include "raft.fullname" . }}{{- end -}}

{{- define "raft.keysSecret" -}}
{{- default (printf "%s-keys" (include "raft.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{/* What a selector may hold: nothing that a new version of the chart changes. Takes (list root component). */}}
{{- define "raft.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "raft.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of a resource. Takes (list root component). */}}
{{- define "raft.labels" -}}
{{- $root := index . 0 -}}
{{ include "raft.selectorLabels" . }}
app.kubernetes.io/part-of: {{ $root.Chart.Name }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The label that lets a pod of this namespace through the NetworkPolicy to the client port. */}}
{{- define "raft.clientLabel" -}}{{ include "raft.fullname" . }}-client{{- end -}}

{{/* Takes (list root image), image being .Values.image.server or .client. */}}
{{- define "raft.image" -}}
{{- $root := index . 0 -}}
{{- printf "%s/%s:%s" $root.Values.image.registry (index . 1).repository (default $root.Chart.AppVersion $root.Values.image.tag) -}}
{{- end -}}

{{/* The domain behind a Service's name. */}}
{{- define "raft.domain" -}}{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}{{- end -}}

{{/*
How many pods found the cluster. It is fixed by the installation, for it says what every node believes before it has
a log; an upgrade reads it back from the ConfigMap. Where a render cannot ask the cluster (helm template), growing
needs the value itself.
*/}}
{{- define "raft.initialMembers" -}}
{{- $before := lookup "v1" "ConfigMap" .Release.Namespace (include "raft.fullname" .) -}}
{{- $annotations := dig "metadata" "annotations" dict (default dict $before) | default dict -}}
{{- if .Values.initialMembers -}}
{{- int .Values.initialMembers -}}
{{- else -}}
{{- get $annotations "raft-zmq/initial-members" | default (.Values.replicas | toString) -}}
{{- end -}}
{{- end -}}

{{/* The founding members as the node's setting `members` takes them: id=host:peer_port:client_port,… */}}
{{- define "raft.members" -}}
{{- $members := list -}}
{{- range $i := until (int (include "raft.initialMembers" .)) -}}
{{- $id := printf "%s-%d" (include "raft.fullname" $) $i -}}
{{- $host := printf "%s.%s.%s" $id (include "raft.headless" $) (include "raft.domain" $) -}}
{{- $members = append $members (printf "%s=%s:%d:%d" $id $host (int $.Values.ports.peer) (int $.Values.ports.client)) -}}
{{- end -}}
{{- join "," $members -}}
{{- end -}}

{{/* The settings file of a node. toJson prints a number as it is written; electionTimeoutSeconds.min is
election_timeout_s_min there, and so for every name. */}}
{{- define "raft.settings" -}}
members: {{ include "raft.members" . }}
data_dir: /var/lib/raft/data
client_port: {{ .Values.ports.client }}
peer_port: {{ .Values.ports.peer }}
http_port: {{ .Values.ports.http }}
auth: {{ .Values.auth.mode }}
{{- if eq .Values.auth.mode "curve" }}
keys_dir: /etc/raft-keys
own_key_dir: /etc/raft/own
{{- end }}
{{- range $name, $value := .Values.raft }}
{{- $setting := snakecase $name | replace "_seconds" "_s" }}
{{- if kindIs "map" $value }}
{{- range $end, $number := $value }}
{{ $setting }}_{{ $end }}: {{ toJson $number }}
{{- end }}
{{- else }}
{{ $setting }}: {{ toJson $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What `restricted` of the Pod Security Standards asks of a pod … */}}
{{- define "raft.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .Values.securityContext.userId }}
runAsGroup: {{ .Values.securityContext.userId }}
fsGroup: {{ .Values.securityContext.userId }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* … and of a container, and a root file system that nobody writes to. */}}
{{- define "raft.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
Config and keys of a client, at /etc/raft-client: client.yaml and, with auth, keys/ with the client's own pair and the
cluster's public key, nothing more.
*/}}
{{- define "raft.clientVolume" -}}
name: client-config
projected:
  defaultMode: 0440
  sources:
    - configMap:
        name: {{ .Values.client.name }}
{{- if eq .Values.auth.mode "curve" }}
    - secret:
        name: {{ include "raft.keysSecret" . }}
        items:
{{- range $file := list "service.public" (printf "client.%s.public" .Values.client.keyName) (printf "client.%s.secret" .Values.client.keyName) }}
          - {key: {{ $file }}, path: keys/{{ $file }}}
{{- end }}
    - secret:
        name: {{ include "raft.keysSecret" . }}
        # There only while the service changes its key.
        optional: true
        items:
{{- range $file := list "service.next.public" "service.old.public" }}
          - {key: {{ $file }}, path: keys/{{ $file }}}
{{- end }}
{{- end }}
{{- end -}}
