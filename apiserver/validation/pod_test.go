package validation

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/apiserver/defaults"
)

const podManifest = `
apiVersion: v1
kind: Pod
metadata: {name: web, resourceVersion: "1"}
spec:
  containers:
  - name: web
    image: web:1
    ports: [{name: http, containerPort: 80}]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes:
  - name: data
`

func TestPod(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*corev1.Pod)
		want   []string
	}{
		{"no containers", func(p *corev1.Pod) { p.Spec.Containers = nil }, []string{`spec.containers: Required value`}},
		{"no name", func(p *corev1.Pod) { p.Spec.Containers[0].Name = "" }, []string{`spec.containers[0].name: Required value`}},
		{"bad name", func(p *corev1.Pod) { p.Spec.Containers[0].Name = "a_b" }, []string{`spec.containers[0].name: Invalid value: "a_b": a lowercase RFC 1123 label…`}},
		{"same name", func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "web", Image: "i"}} },
			[]string{`spec.initContainers[0].name: Duplicate value: "web"`}},
		{"no image", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "" }, []string{`spec.containers[0].image: Required value`}},
		{"image with space", func(p *corev1.Pod) { p.Spec.Containers[0].Image = " web" },
			[]string{`spec.containers[0].image: Invalid value: " web": must not have leading or trailing whitespace`}},
		{"pull policy", func(p *corev1.Pod) { p.Spec.Containers[0].ImagePullPolicy = "Sometimes" },
			[]string{`spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"`}},
		{"restart policy", func(p *corev1.Pod) { p.Spec.RestartPolicy = "Maybe" },
			[]string{`spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"`}},
		{"DNS policy", func(p *corev1.Pod) { p.Spec.DNSPolicy = "Oracle" },
			[]string{`spec.dnsPolicy: Unsupported value: "Oracle": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"`}},
		{"no DNS at all", func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSNone },
			[]string{"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"}},
		{"grace", func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](-1) },
			[]string{`spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0`}},
		{"deadline", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](0) },
			[]string{`spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive`}},
		{"node selector", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"a": "b c"} },
			[]string{`spec.nodeSelector: Invalid value: "b c": a valid label must be…`}},
		{"service account", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "A" },
			[]string{`spec.serviceAccountName: Invalid value: "A": a lowercase RFC 1123 subdomain…`}},
		{"policy of a container", func(p *corev1.Pod) { p.Spec.Containers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways) },
			[]string{`spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers`}},
		{"policy of an init container", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "i", RestartPolicy: ptr.To[corev1.ContainerRestartPolicy]("Never"), Lifecycle: &corev1.Lifecycle{}}}
		}, []string{
			`spec.initContainers[0].restartPolicy: Unsupported value: "Never": supported values: "Always"`,
			`spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always`,
		}},
		{"ephemeral", func(p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Image: "e"}}}
		}, []string{`spec.ephemeralContainers: Forbidden: cannot be set on create`}},
		{"bound behind a gate", func(p *corev1.Pod) {
			p.Spec.NodeName, p.Spec.SchedulingGates = "n1", []corev1.PodSchedulingGate{{Name: "wait"}}
		},
			[]string{`spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared`}},
		{"other port on the host", func(p *corev1.Pod) { p.Spec.HostNetwork, p.Spec.Containers[0].Ports[0].HostPort = true, 81 },
			[]string{"spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"}},
		{"pull secret", func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{}} },
			[]string{`spec.imagePullSecrets[0].name: Required value`}},
		{"user", func(p *corev1.Pod) { p.Spec.SecurityContext.RunAsUser = ptr.To[int64](-5) },
			[]string{`spec.securityContext.runAsUser: Invalid value: -5: must be between 0 and 2147483647, inclusive`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := parse[*corev1.Pod](t, podManifest)
			test.change(pod)
			defaults.Apply(pod)
			expect(t, Create(pod), test.want...)
		})
	}
}

func TestContainer(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*corev1.Container)
		want   []string
	}{
		{"no port", func(c *corev1.Container) { c.Ports[0].ContainerPort = 0 }, []string{`spec.containers[0].ports[0].containerPort: Required value`}},
		{"port too high", func(c *corev1.Container) { c.Ports[0].ContainerPort = 70000 },
			[]string{`spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive`}},
		{"port name", func(c *corev1.Container) { c.Ports[0].Name = "a-name-that-is-too-long" },
			[]string{`spec.containers[0].ports[0].name: Invalid value: "a-name-that-is-too-long": must be no more than 15 characters`}},
		{"same port name", func(c *corev1.Container) {
			c.Ports = append(c.Ports, corev1.ContainerPort{Name: "http", ContainerPort: 81})
		}, []string{`spec.containers[0].ports[1].name: Duplicate value: "http"`}},
		{"protocol", func(c *corev1.Container) { c.Ports[0].Protocol = "ICMP" },
			[]string{`spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`}},
		{"same host port", func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}, {ContainerPort: 81, HostPort: 80}}
		}, []string{`spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80"`}},
		{"env without name", func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Value: "x"}} }, []string{`spec.containers[0].env[0].name: Required value`}},
		{"env name", func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "a=b"}} },
			[]string{`spec.containers[0].env[0].name: Invalid value: "a=b": a valid environment variable name must consist only of…`}},
		{"env from two", func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{
				FieldRef:        &corev1.ObjectFieldSelector{FieldPath: "metadata.name"},
				ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "k"},
			}}}
		}, []string{`spec.containers[0].env[0].valueFrom: Invalid value: "": may not have more than one field specified at a time`}},
		{"env from nothing", func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{}}} },
			[]string{"spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: …"}},
		{"env from an unknown field", func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.secret"}}}}
		}, []string{`spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "spec.secret": supported values: …`}},
		{"envFrom nothing", func(c *corev1.Container) { c.EnvFrom = []corev1.EnvFromSource{{}} },
			[]string{"spec.containers[0].envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"}},
		{"request over limit", func(c *corev1.Container) {
			c.Resources = corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": resource.MustParse("2")},
				Limits:   corev1.ResourceList{"cpu": resource.MustParse("1")},
			}
		}, []string{`spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`}},
		{"negative limit", func(c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{"memory": resource.MustParse("-1")}
		}, []string{
			`spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0`,
			`spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0`,
		}},
		{"unknown resource", func(c *corev1.Container) {
			c.Resources.Requests = corev1.ResourceList{"cpus": resource.MustParse("1")}
		}, []string{
			`spec.containers[0].resources.requests[cpus]: Invalid value: "cpus": must be a standard resource type or fully qualified`,
			`spec.containers[0].resources.requests[cpus]: Invalid value: "cpus": must be a standard resource for containers`,
		}},
		{"half a device", func(c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{"example.com/gpu": resource.MustParse("500m")}
		}, []string{
			`spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "500m": must be an integer`,
			`spec.containers[0].resources.requests[example.com/gpu]: Invalid value: "500m": must be an integer`,
		}},
		{"mount of nothing", func(c *corev1.Container) { c.VolumeMounts[0].Name = "other" },
			[]string{`spec.containers[0].volumeMounts[0].name: Not found: "other"`}},
		{"mount nowhere", func(c *corev1.Container) { c.VolumeMounts[0].MountPath = "" },
			[]string{`spec.containers[0].volumeMounts[0].mountPath: Required value`}},
		{"two mounts in one place", func(c *corev1.Container) { c.VolumeMounts = append(c.VolumeMounts, c.VolumeMounts[0]) },
			[]string{`spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/data": must be unique`}},
		{"subpath that leads out", func(c *corev1.Container) { c.VolumeMounts[0].SubPath = "a/../../b" },
			[]string{`spec.containers[0].volumeMounts[0].subPath: Invalid value: "a/../../b": must not contain '..'`}},
		{"privileged and not", func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true), AllowPrivilegeEscalation: ptr.To(false)}
		}, []string{"spec.containers[0].securityContext: Invalid value: …"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := parse[*corev1.Pod](t, podManifest)
			test.change(&pod.Spec.Containers[0])
			defaults.Apply(pod)
			expect(t, Create(pod), test.want...)
		})
	}
}

func TestProbe(t *testing.T) {
	const at = "spec.containers[0].livenessProbe"
	tcp := corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}}
	for _, test := range []struct {
		name  string
		probe corev1.Probe
		want  []string
	}{
		{"good", corev1.Probe{ProbeHandler: tcp}, nil},
		{"nothing to do", corev1.Probe{}, []string{at + `: Required value: must specify a handler type`}},
		{"two things", corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: tcp.TCPSocket, Exec: &corev1.ExecAction{Command: []string{"true"}}}},
			[]string{at + `.tcpSocket: Forbidden: may not specify more than 1 handler type`}},
		{"no command", corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}}, []string{at + `.exec.command: Required value`}},
		{"port zero", corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{}}},
			[]string{at + `.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive`}},
		{"scheme", corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("http"), Scheme: "ftp"}}},
			[]string{at + `.httpGet.scheme: Unsupported value: "ftp": supported values: "HTTP", "HTTPS"`}},
		{"negative", corev1.Probe{ProbeHandler: tcp, PeriodSeconds: -1},
			[]string{at + `.periodSeconds: Invalid value: -1: must be greater than or equal to 0`}},
		{"two successes", corev1.Probe{ProbeHandler: tcp, SuccessThreshold: 2}, []string{at + `.successThreshold: Invalid value: 2: must be 1`}},
		{"no grace", corev1.Probe{ProbeHandler: tcp, TerminationGracePeriodSeconds: ptr.To[int64](0)},
			[]string{at + `.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := parse[*corev1.Pod](t, podManifest)
			pod.Spec.Containers[0].LivenessProbe = &test.probe
			defaults.Apply(pod)
			expect(t, Create(pod), test.want...)
		})
	}
}

func TestVolume(t *testing.T) {
	for _, test := range []struct {
		name   string
		volume corev1.Volume
		want   []string
	}{
		{"no name", corev1.Volume{}, []string{`spec.volumes[1].name: Required value`}},
		{"same name", corev1.Volume{Name: "data"}, []string{`spec.volumes[1].name: Duplicate value: "data"`}},
		{"two sources", corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: "/"}, EmptyDir: &corev1.EmptyDirVolumeSource{},
		}}, []string{`spec.volumes[1].emptyDir: Forbidden: may not specify more than 1 volume type`}},
		{"host path", corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/a/../b", Type: ptr.To[corev1.HostPathType]("Moon")}}},
			[]string{`spec.volumes[1].hostPath.path: Invalid value: "/a/../b": must not contain '..'`, `spec.volumes[1].hostPath.type: Unsupported value: "Moon": supported values: …`}},
		{"nameless config", corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}},
			[]string{`spec.volumes[1].configMap.name: Required value`}},
		{"mode", corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: ptr.To[int32](0o1000)}}},
			[]string{`spec.volumes[1].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive`}},
		{"file outside", corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "c"}, Items: []corev1.KeyToPath{{Key: "k", Path: "../x"}, {Path: "/y"}},
		}}}, []string{
			`spec.volumes[1].configMap.items[0].path: Invalid value: "../x": must not contain '..'`,
			`spec.volumes[1].configMap.items[1].key: Required value`,
			`spec.volumes[1].configMap.items[1].path: Invalid value: "/y": must be a relative path`,
		}},
		{"short-lived token", corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr.To[int64](60)}}, {},
		}}}}, []string{
			`spec.volumes[1].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes`,
			`spec.volumes[1].projected.sources[1]: Forbidden: must specify exactly 1 volume type`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := parse[*corev1.Pod](t, podManifest)
			pod.Spec.Volumes = append(pod.Spec.Volumes, test.volume)
			defaults.Apply(pod)
			expect(t, Create(pod), test.want...)
		})
	}
}

func TestTolerations(t *testing.T) {
	for _, test := range []struct {
		name       string
		toleration corev1.Toleration
		want       []string
	}{
		{"everything", corev1.Toleration{Operator: corev1.TolerationOpExists}, nil},
		{"no key", corev1.Toleration{Value: "x"}, []string{"spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty…"}},
		{"value of any", corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists, Value: "b"}, []string{`spec.tolerations[0].operator: Invalid value: …`}},
		{"operator", corev1.Toleration{Key: "a", Operator: "Like"}, []string{`spec.tolerations[0].operator: Unsupported value: "Like": supported values: "Equal", "Exists"`}},
		{"effect", corev1.Toleration{Key: "a", Effect: "Never"}, []string{`spec.tolerations[0].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`}},
		{"time for an effect without", corev1.Toleration{Key: "a", Effect: corev1.TaintEffectNoSchedule, TolerationSeconds: ptr.To[int64](3)},
			[]string{"spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := parse[*corev1.Pod](t, podManifest)
			pod.Spec.Tolerations = []corev1.Toleration{test.toleration}
			expect(t, Create(pod), test.want...)
		})
	}
}

func TestPodUpdate(t *testing.T) {
	const fixed = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`…"
	for _, test := range []struct {
		name   string
		change func(*corev1.Pod)
		want   []string
	}{
		{"image", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "web:2" }, nil},
		{"label", func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }, nil},
		{"new toleration", func(p *corev1.Pod) {
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists})
		}, nil},
		{"longer toleration", func(p *corev1.Pod) { p.Spec.Tolerations[0].TolerationSeconds = ptr.To[int64](60) }, nil},
		{"deadline", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](60) }, nil},
		{"toleration gone", func(p *corev1.Pod) { p.Spec.Tolerations = nil },
			[]string{`spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds`}},
		{"command", func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"other"} }, []string{fixed}},
		{"node", func(p *corev1.Pod) { p.Spec.NodeName = "n1" }, []string{fixed}},
		{"another container", func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "b", Image: "b"})
		}, []string{`spec.containers: Forbidden: pod updates may not add or remove containers`}},
		{"gate added", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "wait"}} },
			[]string{`spec.schedulingGates[0]: Forbidden: only deletion is allowed, but found new scheduling gate 'wait'`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			old := parse[*corev1.Pod](t, podManifest)
			old.Spec.Tolerations = []corev1.Toleration{{Key: "a", Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](30)}}
			pod := old.DeepCopy()
			test.change(pod)
			defaults.Apply(pod)
			expect(t, Update(pod, old), test.want...)
		})
	}
}

func TestPodStatusUpdate(t *testing.T) {
	old := parse[*corev1.Pod](t, podManifest)
	old.Spec.RestartPolicy = corev1.RestartPolicyNever
	old.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
	pod := old.DeepCopy()
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	pod.Status.PodIPs = []corev1.PodIP{{IP: "10.42.0.5"}, {IP: "over there"}}
	expect(t, UpdateStatus(pod, old),
		`status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state`,
		`status.podIPs[1]: Invalid value: "over there": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`)
}
