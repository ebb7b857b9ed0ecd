{{- define "anybucket.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "anybucket.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "anybucket.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "anybucket.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* (list $ "gateway"): what a role's pods are found by, and never changes. */}}
{{- define "anybucket.selector" -}}
{{- $top := index . 0 -}}
app.kubernetes.io/name: {{ include "anybucket.name" $top }}
app.kubernetes.io/instance: {{ $top.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "anybucket.labels" -}}
{{- $top := index . 0 -}}
{{ include "anybucket.selector" . }}
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $top.Chart.Name $top.Chart.Version }}
{{- end }}

{{- define "anybucket.image" -}}
{{- with .Values.image }}
{{- $tag := .tag | default $.Chart.AppVersion }}
{{- if .digest }}{{ printf "%s@%s" .repository .digest }}{{ else }}{{ printf "%s:%s" .repository $tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "anybucket.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "anybucket.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "anybucket.keysSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-keys" (include "anybucket.fullname" .)) }}
{{- end }}

{{/* The chart runs etcd itself: "true", or nothing. */}}
{{- define "anybucket.ownEtcd" -}}
{{- if not .Values.etcd.external.endpoints }}true{{ end }}
{{- end }}

{{/* The Secret that speaks to etcd: ca.crt, tls.crt, tls.key; nothing where etcd speaks in plain text. */}}
{{- define "anybucket.etcdSecret" -}}
{{- if not (include "anybucket.ownEtcd" .) }}
{{- .Values.etcd.external.tlsSecret }}
{{- else if .Values.etcd.tls.enabled }}
{{- .Values.etcd.tls.existingSecret | default (printf "%s-etcd-tls" (include "anybucket.fullname" .)) }}
{{- end }}
{{- end }}

{{- define "anybucket.etcdScheme" -}}
{{- if .Values.etcd.tls.enabled }}https{{ else }}http{{ end }}
{{- end }}

{{- define "anybucket.etcdHost" -}}
{{- printf "%s-etcd-%d.%s-etcd.%s.svc" .fullname .at .fullname .namespace }}
{{- end }}

{{- define "anybucket.etcdEndpoints" -}}
{{- if include "anybucket.ownEtcd" . }}
{{- $endpoints := list }}
{{- range $at := until (int .Values.etcd.replicas) }}
{{- $host := include "anybucket.etcdHost" (dict "fullname" (include "anybucket.fullname" $) "at" $at "namespace" $.Release.Namespace) }}
{{- $endpoints = append $endpoints (printf "%s://%s:2379" (include "anybucket.etcdScheme" $) $host) }}
{{- end }}
{{- join "," $endpoints }}
{{- else }}
{{- join "," .Values.etcd.external.endpoints }}
{{- end }}
{{- end }}

{{/* The chart makes the certificates of our own processes itself: "true", or nothing. */}}
{{- define "anybucket.ownClusterTls" -}}
{{- if and .Values.clusterTls.enabled (not .Values.clusterTls.storageSecret) }}true{{ end }}
{{- end }}

{{/* (list $ "gateway"): the Secret with which a role speaks to the others; nothing where they speak in plain text. */}}
{{- define "anybucket.clusterSecret" -}}
{{- $top := index . 0 }}
{{- $role := index . 1 }}
{{- if include "anybucket.ownClusterTls" $top }}
{{- printf "%s-cluster-%s" (include "anybucket.fullname" $top) $role }}
{{- else if $top.Values.clusterTls.enabled }}
{{- index $top.Values.clusterTls (printf "%sSecret" $role) }}
{{- end }}
{{- end }}

{{/* (list $ zone): the StatefulSet of a zone's storage nodes; zone "": of all of them. */}}
{{- define "anybucket.storageSet" -}}
{{- $name := printf "%s-storage" (include "anybucket.fullname" (index . 0)) }}
{{- with index . 1 }}{{ printf "%s-%s" $name . }}{{ else }}{{ $name }}{{ end }}
{{- end }}

{{/* (list $ "gateway"): who a role's processes are, as services/shards/role-names.ts reads it; comma separated. */}}
{{- define "anybucket.roleNames" -}}
{{- $top := index . 0 }}
{{- $role := index . 1 }}
{{- $owners := list (printf "%s-%s" (include "anybucket.fullname" $top) $role) }}
{{- if eq $role "storage" }}
{{- $owners = list }}
{{- range $zone := $top.Values.storage.zones | default (list "") }}
{{- range $at := until (int $top.Values.storage.replicas) }}
{{- $owners = append $owners (printf "%s-%d" (include "anybucket.storageSet" (list $top $zone)) $at) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $at, $owner := $owners }}
{{- if $at }},{{ end }}{{ printf "%s.%s.%s.anybucket.internal" $owner $role $top.Values.clusterName }}
{{- end }}
{{- end }}

{{/* All storage nodes of the first start. */}}
{{- define "anybucket.nodes" -}}
{{- $zones := len .Values.storage.zones | default 1 }}
{{- .Values.storage.initialNodes | default (mul $zones .Values.storage.replicas) }}
{{- end }}

{{/* (list $ "gateway"): the process's settings as a map, so that no name comes twice. */}}
{{- define "anybucket.settings" -}}
{{- $top := index . 0 }}
{{- $role := index . 1 }}
{{- $values := $top.Values }}
{{- $own := dict
  "ANYBUCKET_ETCD" (include "anybucket.etcdEndpoints" $top)
  "ANYBUCKET_CLUSTER" $values.clusterName
  "ANYBUCKET_INITIAL_NODES" (include "anybucket.nodes" $top)
  "ANYBUCKET_LOG_FORMAT" "json"
}}
{{- if include "anybucket.ownEtcd" $top }}
{{- $_ := set $own "ANYBUCKET_ETCD_QUOTA" (int64 $values.etcd.quotaBytes | toString) }}
{{- end }}
{{- if include "anybucket.etcdSecret" $top }}
{{- $_ := set $own "ANYBUCKET_ETCD_CA_FILE" "/run/etcd/ca.crt" }}
{{- $_ := set $own "ANYBUCKET_ETCD_CERT_FILE" "/run/etcd/tls.crt" }}
{{- $_ := set $own "ANYBUCKET_ETCD_KEY_FILE" "/run/etcd/tls.key" }}
{{- end }}
{{- if and (not (include "anybucket.ownEtcd" $top)) $values.etcd.external.user }}
{{- $_ := set $own "ANYBUCKET_ETCD_USER" $values.etcd.external.user }}
{{- $_ := set $own "ANYBUCKET_ETCD_PASSWORD_FILE" "/run/etcd-password/password" }}
{{- end }}
{{- if include "anybucket.clusterSecret" . }}
{{- $_ := set $own "ANYBUCKET_CLUSTER_CA_FILE" "/run/cluster/ca.crt" }}
{{- $_ := set $own "ANYBUCKET_CLUSTER_CERT_FILE" "/run/cluster/tls.crt" }}
{{- $_ := set $own "ANYBUCKET_CLUSTER_KEY_FILE" "/run/cluster/tls.key" }}
{{- end }}
{{- if ne $role "storage" }}
{{- $_ := set $own "ANYBUCKET_ADMIN_TOKEN_FILE" "/run/keys/admin-token" }}
{{- end }}
{{- if eq $role "gateway" }}
{{- $_ := set $own "ANYBUCKET_ACCESS_KEY_FILE" "/run/keys/access-key" }}
{{- $_ := set $own "ANYBUCKET_SECRET_KEY_FILE" "/run/keys/secret-key" }}
{{- if $values.buckets }}
{{- $_ := set $own "ANYBUCKET_BUCKETS" (join "," $values.buckets) }}
{{- end }}
{{- if $values.gateway.tls.existingSecret }}
{{- $_ := set $own "ANYBUCKET_TLS_CERT_FILE" "/run/tls/tls.crt" }}
{{- $_ := set $own "ANYBUCKET_TLS_KEY_FILE" "/run/tls/tls.key" }}
{{- end }}
{{- if and $values.ingress.enabled (not (get (merge (dict) $values.gateway.extraEnv $values.extraEnv) "ANYBUCKET_DOMAINS")) }}
{{- $_ := set $own "ANYBUCKET_DOMAINS" $values.ingress.host }}
{{- end }}
{{- end }}
{{- $all := mergeOverwrite (dict) $values.extraEnv (index $values $role).extraEnv $own }}
{{- range $name, $value := $all }}
- name: {{ $name }}
  value: {{ toString $value | quote }}
{{- end }}
{{- end }}

{{- define "anybucket.mounts" -}}
{{- $top := index . 0 }}
{{- $role := index . 1 }}
{{- if ne $role "storage" }}
- { name: keys, mountPath: /run/keys, readOnly: true }
{{- end }}
{{- if include "anybucket.etcdSecret" $top }}
- { name: etcd-tls, mountPath: /run/etcd, readOnly: true }
{{- end }}
{{- if and (not (include "anybucket.ownEtcd" $top)) $top.Values.etcd.external.user }}
- { name: etcd-password, mountPath: /run/etcd-password, readOnly: true }
{{- end }}
{{- if include "anybucket.clusterSecret" . }}
- { name: cluster-tls, mountPath: /run/cluster, readOnly: true }
{{- end }}
{{- if and (eq $role "gateway") $top.Values.gateway.tls.existingSecret }}
- { name: tls, mountPath: /run/tls, readOnly: true }
{{- end }}
{{- end }}

{{- define "anybucket.volumes" -}}
{{- $top := index . 0 }}
{{- $role := index . 1 }}
{{- if ne $role "storage" }}
- name: keys
  secret: { secretName: {{ include "anybucket.keysSecret" $top }} }
{{- end }}
{{- if include "anybucket.etcdSecret" $top }}
- name: etcd-tls
  secret: { secretName: {{ include "anybucket.etcdSecret" $top }} }
{{- end }}
{{- if and (not (include "anybucket.ownEtcd" $top)) $top.Values.etcd.external.user }}
- name: etcd-password
  secret: { secretName: {{ required "etcd.external.passwordSecret goes with etcd.external.user" $top.Values.etcd.external.passwordSecret }} }
{{- end }}
{{- with include "anybucket.clusterSecret" . }}
- name: cluster-tls
  secret: { secretName: {{ . }} }
{{- end }}
{{- if and (eq $role "gateway") $top.Values.gateway.tls.existingSecret }}
- name: tls
  secret: { secretName: {{ $top.Values.gateway.tls.existingSecret }} }
{{- end }}
{{- end }}

{{/* What PodSecurity "restricted" asks for, and a disk that nobody can write to. */}}
{{- define "anybucket.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "anybucket.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* A start may wait for etcd and for other nodes, and a node with full disks reads them first; alive depends on no other process. */}}
{{- define "anybucket.probes" -}}
startupProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 2
  failureThreshold: 150
livenessProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 5
  timeoutSeconds: 3
{{- end }}

{{/* (list $ "gateway" "ScheduleAnyway"): over zones, then over machines. */}}
{{- define "anybucket.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ (index . 0).Values.storage.zoneLabel }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: { matchLabels: { {{ include "anybucket.selectorLine" . }} } }
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ index . 2 }}
    labelSelector: { matchLabels: { {{ include "anybucket.selectorLine" . }} } }
{{- end }}

{{- define "anybucket.selectorLine" -}}
{{- include "anybucket.selector" (list (index . 0) (index . 1)) | replace "\n" ", " }}
{{- end }}

{{/* (list $ "gateway" "ScheduleAnyway"): what all our pods have in common. */}}
{{- define "anybucket.pod" -}}
{{- $top := index . 0 }}
{{- $role := index . 1 }}
{{- $values := index $top.Values $role }}
serviceAccountName: {{ include "anybucket.serviceAccount" $top }}
automountServiceAccountToken: false
enableServiceLinks: false
# Above ANYBUCKET_DRAIN and the seconds before it.
terminationGracePeriodSeconds: 60
securityContext:
  {{- include "anybucket.podSecurity" $top | nindent 2 }}
{{- with $top.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{ include "anybucket.spread" . }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "anybucket.container" -}}
{{- $top := index . 0 }}
{{- $role := index . 1 }}
name: {{ $role }}
image: {{ include "anybucket.image" $top }}
imagePullPolicy: {{ $top.Values.image.pullPolicy }}
args: [{{ $role }}]
securityContext:
  {{- include "anybucket.containerSecurity" $top | nindent 2 }}
resources:
  {{- toYaml (index $top.Values $role).resources | nindent 2 }}
{{ include "anybucket.probes" $top }}
# The end is announced to whoever sends requests here before the process hears of it.
lifecycle:
  preStop: { exec: { command: [sleep, "5"] } }
{{- end }}
