package validation

import (
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault, ResourceVersion: "1"}
}

func TestConfigMap(t *testing.T) {
	expect(t, Create(&corev1.ConfigMap{ObjectMeta: named("c"), Data: map[string]string{"a b": "", "..": ""}}),
		`data[..]: Invalid value: "..": must not be '..'`,
		`data[a b]: Invalid value: "a b": a valid config key must consist of…`)
	expect(t, Create(&corev1.ConfigMap{ObjectMeta: named("c"), Data: map[string]string{"a": ""}, BinaryData: map[string][]byte{"a": nil}}),
		`data[a]: Invalid value: "a": duplicate of key present in binaryData`)
	expect(t, Create(&corev1.ConfigMap{ObjectMeta: named("c"), Data: map[string]string{"a": strings.Repeat("x", 1<<20)}}))
	expect(t, Create(&corev1.ConfigMap{ObjectMeta: named("c"), Data: map[string]string{"a": strings.Repeat("x", 1<<20), "b": "x"}}),
		`[]: Too long: may not be more than 1048576 bytes`)

	old := &corev1.ConfigMap{ObjectMeta: named("c"), Data: map[string]string{"a": "1"}, Immutable: ptr.To(true)}
	changed := &corev1.ConfigMap{ObjectMeta: named("c"), Data: map[string]string{"a": "2"}, BinaryData: map[string][]byte{"b": nil}}
	expect(t, Update(old.DeepCopy(), old))
	expect(t, Update(changed, old),
		"immutable: Forbidden: field is immutable when `immutable` is set",
		"data: Forbidden: field is immutable when `immutable` is set",
		"binaryData: Forbidden: field is immutable when `immutable` is set")
}

func TestSecret(t *testing.T) {
	secret := func(kind corev1.SecretType, data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: named("s"), Type: kind, Data: data}
	}
	expect(t, Create(secret(corev1.SecretTypeOpaque, nil)))
	expect(t, Create(secret("example.com/mine", nil)))
	expect(t, Create(secret(corev1.SecretTypeTLS, nil)), `data[tls.crt]: Required value`, `data[tls.key]: Required value`)
	expect(t, Create(secret(corev1.SecretTypeSSHAuth, nil)), `data[ssh-privatekey]: Required value`)
	expect(t, Create(secret(corev1.SecretTypeBasicAuth, nil)), `data[username]: Required value`, `data[password]: Required value`)
	expect(t, Create(secret(corev1.SecretTypeBasicAuth, map[string][]byte{"password": nil})))
	expect(t, Create(secret(corev1.SecretTypeDockerConfigJson, nil)), `data[.dockerconfigjson]: Required value`)
	expect(t, Create(secret(corev1.SecretTypeDockerConfigJson, map[string][]byte{".dockerconfigjson": []byte("hunter2")})),
		`data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": is not valid JSON`)
	expect(t, Create(secret(corev1.SecretTypeServiceAccountToken, nil)), `metadata.annotations[kubernetes.io/service-account.name]: Required value`)
	expect(t, Create(secret(corev1.SecretTypeOpaque, map[string][]byte{"a": make([]byte, corev1.MaxSecretSize+1)})),
		`data: Too long: may not be more than 1048576 bytes`)
	expect(t, Update(secret("other", nil), secret(corev1.SecretTypeOpaque, nil)), `type: Invalid value: "other": field is immutable`)
}

func TestNode(t *testing.T) {
	meta := metav1.ObjectMeta{Name: "n1", ResourceVersion: "1"}
	expect(t, Create(&corev1.Node{ObjectMeta: meta, Spec: corev1.NodeSpec{
		PodCIDR: "10.42.0.0/24", PodCIDRs: []string{"10.42.0.0"},
		Taints: []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}, {Key: "a", Effect: corev1.TaintEffectNoSchedule}, {Key: "b"}, {Key: "c", Effect: "Some"}},
	}}),
		`spec.podCIDRs[0]: Invalid value: "10.42.0.0": must be a valid CIDR value…`,
		"spec.podCIDRs[0]: Invalid value: \"10.42.0.0\": must match `podCIDR`",
		`spec.taints[1]: Duplicate value: {"key":"a","effect":"NoSchedule"}`,
		`spec.taints[2].effect: Required value`,
		`spec.taints[3].effect: Unsupported value: "Some": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`)

	old := &corev1.Node{ObjectMeta: meta, Spec: corev1.NodeSpec{PodCIDR: "10.42.0.0/24", PodCIDRs: []string{"10.42.0.0/24"}, ProviderID: "x"}}
	node := &corev1.Node{ObjectMeta: meta}
	expect(t, Update(old, node))
	expect(t, Update(node, old),
		`spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`,
		`spec.providerID: Forbidden: node updates may not change providerID except from "" to valid`)
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.1"}}
	node.Status.Capacity = corev1.ResourceList{"pods": resource.MustParse("-1")}
	expect(t, UpdateStatus(node, old),
		`status.capacity[pods]: Invalid value: "-1": must be greater than or equal to 0`,
		`status.addresses[1]: Duplicate value: {"type":"InternalIP","address":"10.0.0.1"}`)
}

func TestNamespace(t *testing.T) {
	meta := metav1.ObjectMeta{Name: "shop", ResourceVersion: "1"}
	ns := &corev1.Namespace{ObjectMeta: meta, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"a b"}}}
	expect(t, Create(ns), `spec.finalizers[0]: Invalid value: "a b": name part must consist of…`)
	active := &corev1.Namespace{ObjectMeta: meta, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}}
	ending := active.DeepCopy()
	ending.Status.Phase = corev1.NamespaceTerminating
	expect(t, UpdateStatus(ending, active), "status.phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty")
	now := metav1.Now()
	active.DeletionTimestamp, ending.DeletionTimestamp = &now, &now
	expect(t, UpdateStatus(ending, active))
	expect(t, UpdateStatus(active, ending), "status.phase: Invalid value: \"Active\": may only be 'Terminating' if `deletionTimestamp` is not empty")
}

func TestLease(t *testing.T) {
	lease := &coordinationv1.Lease{ObjectMeta: named("l"), Spec: coordinationv1.LeaseSpec{
		LeaseDurationSeconds: ptr.To[int32](0), LeaseTransitions: ptr.To[int32](-1), PreferredHolder: ptr.To("me"),
	}}
	want := []string{
		`spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0`,
		`spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0`,
		"spec.preferredHolder: Forbidden: may only be specified when `strategy` is defined",
	}
	expect(t, Create(lease), want...)
	expect(t, Update(lease, lease), want...)
}

func TestEndpointSlice(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: named("web-1"), AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{
			{}, {Addresses: []string{"127.0.0.1"}}, {Addresses: []string{"169.254.0.9"}}, {Addresses: []string{"fd00::1"}},
			{Addresses: []string{"10.42.0.5"}, Hostname: ptr.To("a.b")},
		},
		Ports: []discoveryv1.EndpointPort{
			{Name: ptr.To("http"), Protocol: ptr.To(corev1.ProtocolTCP)}, {Name: ptr.To("http"), Protocol: ptr.To(corev1.ProtocolTCP)}, {Name: ptr.To("")},
		},
	}
	expect(t, Create(slice),
		`endpoints[0].addresses: Required value: must contain at least 1 address`,
		`endpoints[1].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`,
		`endpoints[2].addresses[0]: Invalid value: "169.254.0.9": may not be in the link-local range (169.254.0.0/16, fe80::/10)`,
		`endpoints[3].addresses[0]: Invalid value: "fd00::1": must be a valid IPv4 address`,
		`endpoints[4].hostname: Invalid value: "a.b": must not contain dots`,
		`ports[1].name: Duplicate value: "http"`,
		`ports[2].protocol: Required value`)
	expect(t, Create(&discoveryv1.EndpointSlice{ObjectMeta: named("a")}), `addressType: Required value`)
	expect(t, Create(&discoveryv1.EndpointSlice{ObjectMeta: named("a"), AddressType: "IPX"}),
		`addressType: Unsupported value: "IPX": supported values: "FQDN", "IPv4", "IPv6"`)
	expect(t, Update(&discoveryv1.EndpointSlice{ObjectMeta: named("a"), AddressType: "IPv6"}, &discoveryv1.EndpointSlice{ObjectMeta: named("a"), AddressType: "IPv4"}),
		`addressType: Invalid value: "IPv6": field is immutable`)
}

func TestEvent(t *testing.T) {
	event := &corev1.Event{ObjectMeta: named("e"), InvolvedObject: corev1.ObjectReference{Namespace: "other"}}
	expect(t, Create(event), `involvedObject.namespace: Invalid value: "other": does not match event.namespace`)
	event.InvolvedObject.Namespace = ""
	expect(t, Create(event))
	event.Namespace = "shop"
	expect(t, Create(event), `involvedObject.namespace: Invalid value: "": does not match event.namespace`)

	event = &corev1.Event{ObjectMeta: named("e"), EventTime: metav1.NowMicro(), ReportingController: "a b", Reason: strings.Repeat("x", 129)}
	expect(t, Create(event),
		`reportingComponent: Invalid value: "a b": name part must consist of…`,
		`reportingInstance: Required value`,
		`action: Required value`,
		`reason: Too long: may not be more than 128 bytes`)
	again := event.DeepCopy()
	again.Reason, again.ReportingController, again.ReportingInstance, again.Action = "Other", "a", "b", "c"
	expect(t, Update(again, event), `reason: Invalid value: "Other": field is immutable`)
}
