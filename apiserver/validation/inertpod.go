package validation

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
)

// What the inert fields of pods and of their templates don't do.
const (
	notScheduled  = "the scheduler does not look at it yet"
	notStarted    = "nodes do not support it yet, and the pod's containers will not start"
	notApplied    = "nodes do not apply it yet, and the container runs without it"
	noAttaching   = "nodes have no attach yet, and the container's input stays empty"
	alphaInKube   = "it is an alpha feature of Kubernetes that is off here"
	noVolumeOf    = "nodes have no volumes of this type, and the pod will not start: use emptyDir, configMap, secret, downwardAPI, projected or hostPath"
	noTokens      = "there are no tokens of service accounts yet, and none is mounted"
	noPreemption  = "pods wait in the order of their priority, but none is preempted"
	notInPlace    = "containers are not resized in place"
	noDevices     = "there is no dynamic resource allocation, and the pod runs without the resource"
	noFileOwner   = "nodes do not set the owner of the files"
	noLimitOnDisk = "nodes do not limit what a container writes to disk"
)

func init() {
	treat[corev1.PodSpec](fields{
		honoured: "volumes initContainers containers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy " +
			"nodeSelector serviceAccountName serviceAccount nodeName hostNetwork hostPID hostIPC securityContext imagePullSecrets " +
			"hostname subdomain affinity schedulerName tolerations hostAliases priority dnsConfig readinessGates enableServiceLinks " +
			"schedulingGates",
		refused: "ephemeralContainers",
		inert: map[string]inertField{
			"automountServiceAccountToken": {noTokens, equals(false)},
			"shareProcessNamespace":        {notStarted, equals(false)},
			"priorityClassName":            {noPreemption, nil},
			"preemptionPolicy":             {noPreemption, equals(corev1.PreemptNever)},
			"runtimeClassName":             {"there are no runtime classes here, and pods that name one are refused", equals("")},
			"overhead":                     {"there are no runtime classes here, and pods that state an overhead are refused", nil},
			"topologySpreadConstraints":    {notScheduled, nil},
			"setHostnameAsFQDN":            {notApplied, equals(false)},
			"os":                           {"all nodes run Linux", func(value, _ reflect.Value) bool { return value.Interface().(*corev1.PodOS).Name == corev1.Linux }},
			"hostUsers":                    {"nodes have no user namespaces, and pods that ask for one are refused", equals(true)},
			"resourceClaims":               {noDevices, nil},
			"resources":                    {"the scheduler counts it, but nodes do not limit a pod as a whole", nil},
			"hostnameOverride":             {notApplied, nil},
			"schedulingGroup":              {notScheduled, nil},
			"evictionResponders":           {alphaInKube, nil},
		},
	})
	treat[corev1.Pod](fields{honoured: "metadata spec status", keys: podKeys})
	treat[corev1.PodTemplateSpec](fields{honoured: "metadata spec", keys: podKeys})
	treatPlacement()
	treatContainers()
	treatSecurity()
	treatVolumes()
}

func treatPlacement() {
	treat[corev1.Affinity](fields{honoured: "nodeAffinity", inert: map[string]inertField{
		"podAffinity": {notScheduled, nil}, "podAntiAffinity": {notScheduled, nil},
	}})
	treat[corev1.NodeAffinity](fields{honoured: required + " " + preferred})
	treat[corev1.PreferredSchedulingTerm](fields{honoured: "weight preference"})
	treat[corev1.NodeSelector](fields{honoured: "nodeSelectorTerms"})
	treat[corev1.NodeSelectorTerm](fields{honoured: "matchExpressions matchFields"})
	treat[corev1.NodeSelectorRequirement](fields{honoured: "key operator values"})
	treat[corev1.Toleration](fields{honoured: "key operator value effect tolerationSeconds"})
	treat[corev1.PodSchedulingGate](fields{honoured: "name"})
	treat[corev1.PodReadinessGate](fields{honoured: "conditionType"})
	treat[corev1.HostAlias](fields{honoured: "ip hostnames"})
	treat[corev1.PodDNSConfig](fields{honoured: "nameservers searches options"})
	treat[corev1.PodDNSConfigOption](fields{honoured: "name value"})
	treat[corev1.LocalObjectReference](fields{honoured: "name"})
}

func treatContainers() {
	treat[corev1.Container](fields{
		honoured: "name image command args workingDir ports envFrom env resources restartPolicy volumeMounts livenessProbe " +
			"readinessProbe startupProbe lifecycle terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext",
		inert: map[string]inertField{
			"resizePolicy":       {notInPlace, nil},
			"restartPolicyRules": {notApplied, nil},
			"volumeDevices":      {notApplied, nil},
			"stdin":              {noAttaching, nil},
			"stdinOnce":          {noAttaching, nil},
			"tty":                {notApplied, nil},
		},
	})
	treat[corev1.ContainerPort](fields{honoured: "name hostPort containerPort protocol hostIP"})
	treat[corev1.EnvVar](fields{honoured: "name value valueFrom"})
	treat[corev1.EnvVarSource](fields{honoured: "fieldRef resourceFieldRef configMapKeyRef secretKeyRef",
		inert: map[string]inertField{"fileKeyRef": {notStarted, nil}}})
	treat[corev1.ObjectFieldSelector](fields{honoured: "apiVersion fieldPath"})
	treat[corev1.ResourceFieldSelector](fields{honoured: "containerName resource divisor"})
	treat[corev1.ConfigMapKeySelector](fields{honoured: "key optional"})
	treat[corev1.SecretKeySelector](fields{honoured: "key optional"})
	treat[corev1.EnvFromSource](fields{honoured: "prefix configMapRef secretRef"})
	treat[corev1.ConfigMapEnvSource](fields{honoured: "optional"})
	treat[corev1.SecretEnvSource](fields{honoured: "optional"})
	treat[corev1.ResourceRequirements](fields{honoured: "requests", inert: map[string]inertField{
		"limits": {noLimitOnDisk, func(value, _ reflect.Value) bool {
			_, limited := value.Interface().(corev1.ResourceList)[corev1.ResourceEphemeralStorage]
			return !limited
		}},
		"claims": {noDevices, nil},
	}})
	treat[corev1.Probe](fields{honoured: "initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold terminationGracePeriodSeconds"})
	treat[corev1.ProbeHandler](fields{honoured: "exec httpGet tcpSocket grpc"})
	treat[corev1.GRPCAction](fields{honoured: "port service mode"})
	treat[corev1.ExecAction](fields{honoured: "command"})
	treat[corev1.HTTPGetAction](fields{honoured: "path port host scheme httpHeaders", inert: map[string]inertField{"protocol": {alphaInKube, nil}}})
	treat[corev1.HTTPHeader](fields{honoured: "name value"})
	treat[corev1.TCPSocketAction](fields{honoured: "port host"})
	treat[corev1.SleepAction](fields{honoured: "seconds"})
	treat[corev1.Lifecycle](fields{honoured: "postStart preStop", inert: map[string]inertField{
		"stopSignal": {"nodes end a container with the signal that its image names", nil},
	}})
	treat[corev1.LifecycleHandler](fields{honoured: "exec httpGet tcpSocket sleep"})
}

func treatSecurity() {
	unconfined := func(value, _ reflect.Value) bool {
		return reflect.Indirect(value).FieldByName("Type").String() == string(corev1.SeccompProfileTypeUnconfined)
	}
	treat[corev1.PodSecurityContext](fields{
		// fsGroupChangePolicy concerns volumes that outlive their pod, of which there are none.
		honoured: "runAsUser runAsGroup runAsNonRoot supplementalGroups fsGroup fsGroupChangePolicy sysctls",
		inert: map[string]inertField{
			"seLinuxOptions":           {notApplied, nil},
			"windowsOptions":           {"all nodes run Linux", nil},
			"supplementalGroupsPolicy": {"nodes merge the groups of the image", equals(corev1.SupplementalGroupsPolicyMerge)},
			"seccompProfile":           {notApplied, unconfined},
			"appArmorProfile":          {notApplied, unconfined},
			"seLinuxChangePolicy":      {notApplied, nil},
		},
	})
	treat[corev1.SecurityContext](fields{
		honoured: "capabilities privileged runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation",
		inert: map[string]inertField{
			"seLinuxOptions":  {notApplied, nil},
			"windowsOptions":  {"all nodes run Linux", nil},
			"procMount":       {"nodes mask /proc for containers that are not privileged", equals(corev1.DefaultProcMount)},
			"seccompProfile":  {notApplied, unconfined},
			"appArmorProfile": {notApplied, unconfined},
		},
	})
	treat[corev1.Capabilities](fields{honoured: "add drop"})
	treat[corev1.Sysctl](fields{honoured: "name value"})
}

func treatVolumes() {
	treat[corev1.Volume](fields{honoured: "name"})
	sources := fields{honoured: "hostPath emptyDir secret downwardAPI configMap projected", inert: map[string]inertField{}}
	for _, name := range []string{
		"gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "persistentVolumeClaim", "rbd",
		"flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk",
		"photonPersistentDisk", "portworxVolume", "scaleIO", "storageos", "csi", "ephemeral", "image",
	} {
		sources.inert[name] = inertField{noVolumeOf, nil}
	}
	treat[corev1.VolumeSource](sources)
	owner := map[string]inertField{"defaultUser": {noFileOwner, nil}}
	treat[corev1.HostPathVolumeSource](fields{honoured: "path type"})
	treat[corev1.EmptyDirVolumeSource](fields{inert: map[string]inertField{
		"medium": {notStarted, equals(corev1.StorageMediumMemory)},
		"sizeLimit": {"nodes limit it for medium Memory only", func(_, in reflect.Value) bool {
			return in.Interface().(corev1.EmptyDirVolumeSource).Medium == corev1.StorageMediumMemory
		}},
		"mode": {alphaInKube, nil},
	}})
	treat[corev1.ConfigMapVolumeSource](fields{honoured: "items defaultMode optional", inert: owner})
	treat[corev1.SecretVolumeSource](fields{honoured: "secretName items defaultMode optional", inert: owner})
	treat[corev1.DownwardAPIVolumeSource](fields{honoured: "items defaultMode", inert: owner})
	treat[corev1.ProjectedVolumeSource](fields{honoured: "sources defaultMode", inert: owner})
	user := map[string]inertField{"user": {noFileOwner, nil}}
	treat[corev1.KeyToPath](fields{honoured: "key path mode", inert: user})
	treat[corev1.DownwardAPIVolumeFile](fields{honoured: "path fieldRef resourceFieldRef mode", inert: user})
	projected := "nodes have no projections of this kind, and the pod will not start: use secret, configMap or downwardAPI"
	treat[corev1.VolumeProjection](fields{honoured: "secret downwardAPI configMap", inert: map[string]inertField{
		"serviceAccountToken": {projected, nil}, "clusterTrustBundle": {projected, nil}, "podCertificate": {projected, nil},
	}})
	treat[corev1.SecretProjection](fields{honoured: "items optional"})
	treat[corev1.ConfigMapProjection](fields{honoured: "items optional"})
	treat[corev1.DownwardAPIProjection](fields{honoured: "items"})
	treat[corev1.VolumeMount](fields{
		honoured: "name readOnly mountPath subPath mountPropagation subPathExpr",
		inert: map[string]inertField{
			"recursiveReadOnly": {"nodes make only the mount itself read-only", equals(corev1.RecursiveReadOnlyDisabled)},
			"bindMountOptions":  {alphaInKube, nil},
		},
	})
}
