package defaults

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// TestApply compares what becomes of manifests with what a Kubernetes API server makes of them.
func TestApply(t *testing.T) {
	for _, test := range []struct{ name, manifest, want string }{
		{"pod", `
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: web
    image: web
    ports: [{containerPort: 80}]
    env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    resources: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: 100m}}
    livenessProbe: {httpGet: {port: 80}}
    readinessProbe: {grpc: {port: 90}, periodSeconds: 3}
    lifecycle: {preStop: {httpGet: {port: 80}}}
  volumes:
  - {name: a}
  - {name: b, configMap: {name: c}}
  - {name: d, secret: {secretName: e}}
  - {name: f, hostPath: {path: /}}
  - {name: g, projected: {sources: [{serviceAccountToken: {path: token}}, {downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.uid}}]}}]}}
`, `
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: web
    image: web
    imagePullPolicy: Always
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
    ports: [{containerPort: 80, protocol: TCP}]
    env: [{name: POD, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}}]
    resources: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: 100m, memory: 1Gi}}
    livenessProbe: {httpGet: {port: 80, path: /, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
    readinessProbe: {grpc: {port: 90, service: ""}, timeoutSeconds: 1, periodSeconds: 3, successThreshold: 1, failureThreshold: 3}
    lifecycle: {preStop: {httpGet: {port: 80, path: /, scheme: HTTP}}}
  volumes:
  - {name: a, emptyDir: {}}
  - {name: b, configMap: {name: c, defaultMode: 420}}
  - {name: d, secret: {secretName: e, defaultMode: 420}}
  - {name: f, hostPath: {path: /, type: ""}}
  - name: g
    projected:
      defaultMode: 420
      sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - downwardAPI: {items: [{path: p, fieldRef: {apiVersion: v1, fieldPath: metadata.uid}}]}
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  terminationGracePeriodSeconds: 30
status: {phase: Pending, qosClass: Burstable}
`},
		{"host network", `
apiVersion: v1
kind: Pod
spec:
  hostNetwork: true
  restartPolicy: Never
  dnsPolicy: Default
  initContainers: [{name: i, image: "i:1", imagePullPolicy: Never}]
  containers: [{name: c, image: "c:1", ports: [{containerPort: 80}]}]
status: {podIP: 10.0.0.1, hostIPs: [{ip: 10.0.0.1}]}
`, `
apiVersion: v1
kind: Pod
metadata: {}
spec:
  hostNetwork: true
  restartPolicy: Never
  dnsPolicy: Default
  initContainers: [{name: i, image: "i:1", imagePullPolicy: Never, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, resources: {}}]
  containers:
  - {name: c, image: "c:1", imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, resources: {},
     ports: [{containerPort: 80, hostPort: 80, protocol: TCP}]}
  enableServiceLinks: true
  schedulerName: default-scheduler
  securityContext: {}
  terminationGracePeriodSeconds: 30
status: {phase: Pending, qosClass: BestEffort, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}], hostIP: 10.0.0.1, hostIPs: [{ip: 10.0.0.1}]}
`},
		{"deployment", `
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers: [{name: c, image: "c:1", resources: {limits: {cpu: "1"}}}]
`, `
apiVersion: apps/v1
kind: Deployment
metadata: {}
spec:
  progressDeadlineSeconds: 600
  replicas: 1
  revisionHistoryLimit: 10
  selector: null
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}
  template:
    metadata: {}
    spec:
      containers:
      - {name: c, image: "c:1", imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, resources: {limits: {cpu: "1"}}}
      dnsPolicy: ClusterFirst
      restartPolicy: Always
      schedulerName: default-scheduler
      securityContext: {}
      terminationGracePeriodSeconds: 30
status: {}
`},
		{"recreate", `
apiVersion: apps/v1
kind: Deployment
spec: {replicas: 0, strategy: {type: Recreate}}
`, `
apiVersion: apps/v1
kind: Deployment
metadata: {}
spec:
  progressDeadlineSeconds: 600
  replicas: 0
  revisionHistoryLimit: 10
  selector: null
  strategy: {type: Recreate}
  template:
    metadata: {}
    spec: {containers: null, dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}
status: {}
`},
		{"service", `
apiVersion: v1
kind: Service
spec: {ports: [{port: 80}, {port: 53, protocol: UDP, targetPort: dns}]}
`, `
apiVersion: v1
kind: Service
metadata: {}
spec:
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  ports: [{port: 80, protocol: TCP, targetPort: 80}, {port: 53, protocol: UDP, targetPort: dns}]
  sessionAffinity: None
  type: ClusterIP
status: {loadBalancer: {}}
`},
		{"load balancer", `
apiVersion: v1
kind: Service
spec: {type: LoadBalancer, sessionAffinity: ClientIP, clusterIP: "fd00::1"}
status: {loadBalancer: {ingress: [{ip: 10.0.0.1}]}}
`, `
apiVersion: v1
kind: Service
metadata: {}
spec:
  allocateLoadBalancerNodePorts: true
  clusterIP: "fd00::1"
  externalTrafficPolicy: Cluster
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv6]
  ipFamilyPolicy: SingleStack
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}
  type: LoadBalancer
status: {loadBalancer: {ingress: [{ip: 10.0.0.1, ipMode: VIP}]}}
`},
		{"external name", `
apiVersion: v1
kind: Service
spec: {type: ExternalName, externalName: db.example}
`, `
apiVersion: v1
kind: Service
metadata: {}
spec: {type: ExternalName, externalName: db.example, sessionAffinity: None}
status: {loadBalancer: {}}
`},
		{"endpoint slice", `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
endpoints: []
ports: [{port: 80}]
`, `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {}
addressType: IPv4
endpoints: []
ports: [{name: "", port: 80, protocol: TCP}]
`},
		{"namespace", `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
`, `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {kubernetes.io/metadata.name: shop}}
spec: {finalizers: [kubernetes]}
status: {phase: Active}
`},
		{"secret", `
apiVersion: v1
kind: Secret
data: {a: YQ==, b: Yg==}
stringData: {b: hello}
`, `
apiVersion: v1
kind: Secret
metadata: {}
data: {a: YQ==, b: aGVsbG8=}
type: Opaque
`},
		{"node", `
apiVersion: v1
kind: Node
spec: {podCIDR: 10.42.0.0/24}
status: {capacity: {cpu: "2", memory: 1.5Gi}}
`, `
apiVersion: v1
kind: Node
metadata: {}
spec: {podCIDR: 10.42.0.0/24, podCIDRs: [10.42.0.0/24]}
status:
  capacity: {cpu: "2", memory: 1536Mi}
  allocatable: {cpu: "2", memory: 1536Mi}
  daemonEndpoints: {kubeletEndpoint: {Port: 0}}
  nodeInfo: {architecture: "", bootID: "", containerRuntimeVersion: "", kernelVersion: "", kubeProxyVersion: "", kubeletVersion: "", machineID: "", operatingSystem: "", osImage: "", systemUUID: ""}
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			obj, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(test.manifest), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			Apply(obj)
			got, err := yaml.Marshal(obj)
			if err != nil {
				t.Fatal(err)
			}
			if want := canonical(t, test.want); string(got) != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// canonical writes YAML the way that objects are written.
func canonical(t *testing.T, text string) string {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	out, err := yaml.JSONToYAML(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestEnding keeps the finalizer of a namespace away once it is taken off.
func TestEnding(t *testing.T) {
	now := metav1.Now()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", DeletionTimestamp: &now}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceTerminating}}
	Apply(ns)
	if len(ns.Spec.Finalizers) != 0 || ns.Status.Phase != corev1.NamespaceTerminating {
		t.Errorf("an ending namespace is held again: %v %v", ns.Spec.Finalizers, ns.Status.Phase)
	}
}

func TestPullPolicy(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{
		"web":                          corev1.PullAlways,
		"web:latest":                   corev1.PullAlways,
		"web:1":                        corev1.PullIfNotPresent,
		"host:5000/web":                corev1.PullAlways,
		"host:5000/a/web:2":            corev1.PullIfNotPresent,
		"web@sha256:00":                corev1.PullIfNotPresent,
		"host:5000/web:latest@sha256:": corev1.PullAlways,
		"ctlplane.local/demo":          corev1.PullAlways,
		"":                             corev1.PullAlways,
	} {
		if got := pullPolicy(image); got != want {
			t.Errorf("%q: %s, want %s", image, got, want)
		}
	}
}

func TestQOSClass(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		l := corev1.ResourceList{}
		if cpu != "" {
			l[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			l[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return l
	}
	for _, test := range []struct {
		name             string
		requests, limits corev1.ResourceList
		want             corev1.PodQOSClass
	}{
		{"nothing", nil, nil, corev1.PodQOSBestEffort},
		{"zero", list("0", "0"), nil, corev1.PodQOSBestEffort},
		{"request", list("1", ""), nil, corev1.PodQOSBurstable},
		{"half a limit", nil, list("1", ""), corev1.PodQOSBurstable},
		{"limits", nil, list("1", "1Gi"), corev1.PodQOSGuaranteed},
		{"both the same", list("1000m", "1024Mi"), list("1", "1Gi"), corev1.PodQOSGuaranteed},
		{"both", list("1", "1Gi"), list("2", "1Gi"), corev1.PodQOSBurstable},
	} {
		spec := &corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: test.requests, Limits: test.limits}}}}
		if got := QOSClass(spec); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		pod := &corev1.PodSpec{Resources: &spec.Containers[0].Resources, Containers: []corev1.Container{{}}}
		if got := QOSClass(pod); got != test.want {
			t.Errorf("%s for the whole pod: %s, want %s", test.name, got, test.want)
		}
	}
}
