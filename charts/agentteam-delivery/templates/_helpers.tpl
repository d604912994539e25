{{- define "agentteam-delivery.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 58 | trimSuffix "-" }}
{{- end }}

{{- /* A Service has this name, so it contains no dots. It is cut to 52 characters, so that suffixes fit. */}}
{{- define "agentteam-delivery.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | replace "." "-" | trunc 52 | trimAll "-" }}
{{- end }}

{{- /* Several installations can share a cluster, so the name of a cluster-wide object contains the namespace, after a colon, which neither part can contain. */}}
{{- define "agentteam-delivery.clusterName" -}}
{{- printf "%s:%s" (include "agentteam-delivery.fullname" .) .Release.Namespace }}
{{- end }}

{{- define "agentteam-delivery.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "agentteam-delivery.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.create is false, so serviceAccount.name must say which account to use" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "agentteam-delivery.selectorLabels" -}}
app.kubernetes.io/name: {{ include "agentteam-delivery.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* Labels and annotations of an object's metadata. Takes a list: the root, the object's own annotations, its labels. */}}
{{- define "agentteam-delivery.metadata" -}}
{{- $root := first . }}
{{- $annotations := merge (dict) (default dict (index . 1)) (default dict $root.Values.commonAnnotations) -}}
{{- $labels := dict }}
{{- if gt (len .) 2 }}
{{- $labels = default dict (index . 2) }}
{{- end -}}
labels:
  {{- with merge (dict) $labels (default dict $root.Values.commonLabels) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
  {{- include "agentteam-delivery.selectorLabels" $root | nindent 2 }}
  app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "agentteam-delivery.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A setting's value as an environment variable has it; Helm reads numbers as floats. */}}
{{- define "agentteam-delivery.setting" -}}
{{- if kindIs "slice" . }}
{{- join "," . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) }}
{{- int64 . }}
{{- else }}
{{- . }}
{{- end }}
{{- end }}

{{- /* Seconds from SIGTERM to SIGKILL: the drain, and time to exit after it. */}}
{{- define "agentteam-delivery.gracePeriod" -}}
{{- with .Values.settings }}
{{- $attempt := default 10 .attemptTimeout }}
{{- $drain := default (addf $attempt (default 10 .apiTimeout) 5) .drainTimeout }}
{{- add (ceil $drain | int) 10 (include "agentteam-delivery.preStop" $ | int) }}
{{- end }}
{{- end }}

{{- /* Seconds for which a pod that shuts down still accepts callers: until every node knows that it shuts down. */}}
{{- define "agentteam-delivery.preStop" -}}
5
{{- end }}

{{- /* Address at which the watcher reaches the service in the same pod. */}}
{{- define "agentteam-delivery.loopback" -}}
{{- ternary "::1" "127.0.0.1" (contains ":" (default "" .Values.settings.host)) }}
{{- end }}

{{- define "agentteam-delivery.host" -}}
{{- printf "%s.%s.svc" (include "agentteam-delivery.fullname" .) .Release.Namespace }}
{{- end }}

{{- define "agentteam-delivery.scheme" -}}
{{- ternary "https" "http" (not (empty .Values.tls.secretName)) }}
{{- end }}

{{- /* Fails if a CIDR is invalid. Takes a list: the value's name, the CIDR. The processes check IPv6. */}}
{{- define "agentteam-delivery.checkCidr" -}}
{{- $where := first . }}
{{- $cidr := last . }}
{{- $four := "(0|[1-9][0-9]{0,2})([.](0|[1-9][0-9]{0,2})){3}/([0-9]|[12][0-9]|3[0-2])" }}
{{- $six := "[0-9a-fA-F:.]*:[0-9a-fA-F:.]*/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])" }}
{{- if not (regexMatch (printf "^(%s|%s)$" $four $six) $cidr) }}
{{- fail (printf "%s has %q, which is not a network; write an address and the length of its prefix, such as 10.0.0.0/8 or fd00::/8" $where $cidr) }}
{{- end }}
{{- if not (contains ":" $cidr) }}
{{- $parts := splitList "/" $cidr }}
{{- $number := 0 }}
{{- range splitList "." (first $parts) }}
{{- if gt (int .) 255 }}
{{- fail (printf "%s has %q, but no part of an address can be more than 255; correct it" $where $cidr) }}
{{- end }}
{{- $number = add (mul $number 256) (int .) }}
{{- end }}
{{- $size := 1 }}
{{- range until (sub 32 (last $parts | int) | int) }}
{{- $size = mul $size 2 }}
{{- end }}
{{- if mod $number $size }}
{{- fail (printf "%s has %q, which names an address inside its network; write the network itself, or the address with /32" $where $cidr) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Fails if valid values together would be insecure or contradict each other. */}}
{{- define "agentteam-delivery.check" -}}
{{- range $label, $_ := merge (dict) (default dict .Values.commonLabels) (default dict .Values.podLabels) (default dict .Values.podMonitor.labels) (default dict .Values.prometheusRule.labels) (default dict .Values.dashboard.labels) }}
{{- if regexMatch "^(app\\.kubernetes\\.io/(name|instance|version|managed-by)|helm\\.sh/chart)$" $label }}
{{- fail (printf "%s is a label that the chart sets itself; remove it" $label) }}
{{- end }}
{{- end }}
{{- if not (regexMatch "^[a-z]" (include "agentteam-delivery.fullname" .)) }}
{{- fail (printf "a Service's name must begin with a letter, but %s does not; set fullnameOverride" (include "agentteam-delivery.fullname" .)) }}
{{- end }}
{{- $names := list }}
{{- range .Values.extraEnv }}
{{- if has .name $names }}
{{- fail (printf "extraEnv contains %s twice; remove one" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- $ours := list "DELIVERY_EGRESS_PROXY" }}
{{- if and $.Values.tls.secretName (not $.Values.tls.caKey) }}
{{- $ours = append $ours "DELIVERY_CA_FILE" }}
{{- end }}
{{- if and (hasPrefix "DELIVERY_" (upper .name)) (not (has .name $ours)) }}
{{- fail (printf "extraEnv sets %s, which the chart must know; set it with settings, tls or service instead" .name) }}
{{- end }}
{{- end }}
{{- $settings := .Values.settings }}
{{- if and (eq $settings.auth "none") (not $settings.allowAnyone) }}
{{- fail "settings.auth=none accepts everyone who reaches the port; use kubernetes, or set settings.allowAnyone=true if the network restricts access" }}
{{- end }}
{{- $reached := or .Values.networkPolicy.callers .Values.networkPolicy.extraIngress (not .Values.networkPolicy.enabled) }}
{{- if and $reached (eq $settings.auth "kubernetes") (not .Values.tls.secretName) (not $settings.allowPlainHttp) }}
{{- fail "callers may reach the port, and their tokens would be sent unencrypted; set tls.secretName, or settings.allowPlainHttp=true if something else encrypts" }}
{{- end }}
{{- /* Values with which the processes would refuse to start. */}}
{{- range $name := list "apiTimeout" "authCache" "readTimeout" "attemptTimeout" "targetTimeout" "backoffInitial" "recordTimeout" "waitLimit" "drainTimeout" "resync" "maxAge" }}
{{- $value := dig $name nil $settings }}
{{- if and (kindIs "string" $value) (not (regexMatch "^([0-9]+([.][0-9]*)?|[.][0-9]+)$" $value)) }}
{{- fail (printf "settings.%s is %q, which is not a number; write seconds, such as 30 or 0.5" $name $value) }}
{{- end }}
{{- if and (not (kindIs "invalid" $value)) (le (float64 $value) 0.0) }}
{{- fail (printf "settings.%s is %v; it must be more than 0 seconds" $name $value) }}
{{- end }}
{{- end }}
{{- if gt (float64 (default 30 $settings.authCache)) 45.0 }}
{{- fail "settings.authCache is more than 45 seconds, so a revoked permission would stay valid for too long; lower it" }}
{{- end }}
{{- $attempt := float64 (default 10 $settings.attemptTimeout) }}
{{- $target := float64 (default 60 $settings.targetTimeout) }}
{{- if gt $attempt $target }}
{{- fail "settings.attemptTimeout is longer than settings.targetTimeout, so no attempt could end in time; lower the former or raise the latter" }}
{{- end }}
{{- if ge (float64 (default 0.5 $settings.backoffInitial)) $target }}
{{- fail "settings.backoffInitial is not shorter than settings.targetTimeout, so nothing would be retried; lower the former or raise the latter" }}
{{- end }}
{{- if and $settings.drainTimeout (lt (float64 $settings.drainTimeout) $attempt) }}
{{- fail "settings.drainTimeout is shorter than settings.attemptTimeout, so attempts in progress would be cut off; raise it" }}
{{- end }}
{{- if lt (float64 (default 4000 $settings.maxTargetsInFlight)) (mulf 2 (default 1000 $settings.maxTargets)) }}
{{- fail "settings.maxTargetsInFlight is less than twice settings.maxTargets, so a team with many targets would never start; raise the former or lower the latter" }}
{{- end }}
{{- if ne (empty $settings.smtpHost) (empty $settings.smtpFrom) }}
{{- fail "settings.smtpHost and settings.smtpFrom go together; set both or neither" }}
{{- end }}
{{- if ne (empty $settings.smtpUsername) (empty $settings.smtpPasswordFile) }}
{{- fail "settings.smtpUsername and settings.smtpPasswordFile go together; set both or neither" }}
{{- end }}
{{- if and $settings.smtpUsername (eq (default "starttls" $settings.smtpTls) "none") }}
{{- fail "settings.smtpTls is none, so the password of settings.smtpPasswordFile would be sent unencrypted; set it to starttls or tls" }}
{{- end }}
{{- if and $settings.egressProxy .Values.networkPolicy.enabled (not .Values.networkPolicy.extraEgress) (not $settings.egressAllow) }}
{{- fail "settings.egressProxy is set, but the NetworkPolicy does not allow it; add a rule to networkPolicy.extraEgress" }}
{{- end }}
{{- $policy := .Values.networkPolicy }}
{{- if and $policy.enabled .Values.podMonitor.enabled (not $policy.scrapers) (not $policy.extraIngress) }}
{{- fail "podMonitor.enabled makes Prometheus scrape the pods, but the NetworkPolicy does not allow it; add Prometheus to networkPolicy.scrapers" }}
{{- end }}
{{- if and $policy.enabled $settings.tracing (not $policy.extraEgress) (not $settings.egressAllow) }}
{{- fail "settings.tracing sends spans to a collector, but the NetworkPolicy does not allow it; add a rule to networkPolicy.extraEgress" }}
{{- end }}
{{- $cidrs := dict "settings.egressAllow" $settings.egressAllow "settings.egressDeny" $settings.egressDeny "networkPolicy.apiServerCidrs" .Values.networkPolicy.apiServerCidrs }}
{{- range $where, $listed := $cidrs }}
{{- range $listed }}
{{- include "agentteam-delivery.checkCidr" (list $where .) }}
{{- end }}
{{- end }}
{{- if not (regexMatch "^(|sha256:[0-9a-f]{64})$" (default "" .Values.image.digest)) }}
{{- fail (printf "image.digest is %q; write sha256: and 64 hexadecimal digits, as the registry names it" .Values.image.digest) }}
{{- end }}
{{- $away := .Values.podDisruptionBudget.maxUnavailable }}
{{- if and (kindIs "string" $away) (not (regexMatch "^([1-9][0-9]?|100)%$" $away)) }}
{{- fail (printf "podDisruptionBudget.maxUnavailable is the text %q; write a number, such as 1 without quotes, or a share from 1%% to 100%%" $away) }}
{{- end }}
{{- if and .Values.watcher.enabled (eq (int .Values.service.port) (int .Values.service.watchPort)) }}
{{- fail "service.port and service.watchPort are the same; a Service needs two" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas; lower the former or raise the latter" }}
{{- end }}
{{- if .Values.autoscaling.enabled }}
{{- $shares := dict "cpu" .Values.autoscaling.targetCPUUtilizationPercentage "memory" .Values.autoscaling.targetMemoryUtilizationPercentage }}
{{- $containers := dict "resources" .Values.resources }}
{{- if .Values.watcher.enabled }}
{{- $_ := set $containers "watcher.resources" .Values.watcher.resources }}
{{- end }}
{{- range $kind, $share := $shares }}
{{- range $where, $resources := $containers }}
{{- $resources := default dict $resources }}
{{- if and $share (not (dig "requests" $kind "" $resources)) (not (dig "limits" $kind "" $resources)) }}
{{- fail (printf "autoscaling targets a percentage of %s.requests.%s, which is not set; set it" $where $kind) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.targetCPUUtilizationPercentage) (not .Values.autoscaling.targetMemoryUtilizationPercentage) }}
{{- fail "autoscaling.enabled needs targetCPUUtilizationPercentage or targetMemoryUtilizationPercentage" }}
{{- end }}
{{- end }}
