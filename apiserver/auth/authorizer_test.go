package auth

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// cluster is what the node authorizer sees in the tests.
type cluster []*corev1.Pod

func (c cluster) PodsOnNode(node string) []*corev1.Pod {
	var on []*corev1.Pod
	for _, pod := range c {
		if pod.Spec.NodeName == node {
			on = append(on, pod)
		}
	}
	return on
}

func (c cluster) Pod(namespace, name string) *corev1.Pod {
	for _, pod := range c {
		if pod.Namespace == namespace && pod.Name == name {
			return pod
		}
	}
	return nil
}

func pod(namespace, name, node string, spec corev1.PodSpec) *corev1.Pod {
	spec.NodeName = node
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
}

var testCluster = cluster{
	pod("shop", "web", "n1", corev1.PodSpec{
		Volumes: []corev1.Volume{
			{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "volume"}}}},
			{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "volume"}}},
			{VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: &corev1.LocalObjectReference{Name: "csi"}}}},
			{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "projected"}}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "projected"}}},
			}}}},
		},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
		InitContainers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "env"}}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "env"}}},
		}}},
		Containers: []corev1.Container{{Env: []corev1.EnvVar{
			{ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "key"}}}},
			{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "key"}}}},
		}}},
	}),
	pod("shop", "db", "n2", corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "db"}}}),
	pod("shop", "waiting", "", corev1.PodSpec{}),
}

var (
	node1     = User{Name: NodePrefix + "n1", Groups: []string{GroupNodes, GroupAuthenticated}}
	admin     = User{Name: "admin", Groups: []string{GroupMasters, GroupAuthenticated}}
	somebody  = User{Name: "ann", Groups: []string{GroupAuthenticated}}
	anonymous = User{Name: "system:anonymous", Groups: []string{GroupUnauthenticated}}
)

// resourceRequest is a request for a resource; name and namespace may be empty.
func resourceRequest(user User, verb, group, resource, subresource, namespace, name string) *Attributes {
	return &Attributes{
		User: user, Verb: verb, Group: group, Version: "v1", Resource: resource, Subresource: subresource,
		Namespace: namespace, Name: name, ResourceRequest: true,
	}
}

func TestChain(t *testing.T) {
	authorizer := NewAuthorizer(testCluster)
	path := func(user User, verb, path string) *Attributes { return &Attributes{User: user, Verb: verb, Path: path} }
	for _, test := range []struct {
		name  string
		a     *Attributes
		allow bool
	}{
		{"admin deletes", resourceRequest(admin, "delete", "", "nodes", "", "", "n1"), true},
		{"admin posts to a path", path(admin, "post", "/anything"), true},
		{"somebody gets", resourceRequest(somebody, "get", "", "pods", "", "shop", "web"), false},
		{"somebody discovers", path(somebody, "get", "/apis/apps/v1"), true},
		{"somebody reads the version", path(somebody, "get", "/version"), true},
		{"somebody reads schemas", path(somebody, "get", "/openapi/v3/api/v1"), true},
		{"somebody asks for health", path(somebody, "get", "/readyz/store"), true},
		{"somebody reads metrics", path(somebody, "get", "/metrics"), false},
		{"somebody posts to discovery", path(somebody, "post", "/api"), false},
		{"somebody reads what only begins alike", path(somebody, "get", "/apiserver"), false},
		{"nobody asks for health", path(anonymous, "get", "/livez"), true},
		{"nobody asks for the version", path(anonymous, "head", "/version/"), true},
		{"nobody asks for one check", path(anonymous, "get", "/readyz/raft"), false},
		{"nobody posts to health", path(anonymous, "post", "/livez"), false},
		{"nobody lists what is called as health is", resourceRequest(anonymous, "list", "", "livez", "", "", ""), false},
		{"nobody discovers", path(anonymous, "get", "/api"), false},
		{"node discovers", path(node1, "get", "/api/v1"), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			decision, reason := authorizer.Authorize(test.a)
			if (decision == Allow) != test.allow || decision == NoOpinion {
				t.Errorf("%v (%s)", decision, reason)
			}
		})
	}
}

// TestChainOrder makes sure that the first who has an opinion is heard, and that all reasons are told.
func TestChainOrder(t *testing.T) {
	answer := func(d Decision, reason string) Authorizer {
		return authorizerFunc(func(*Attributes) (Decision, string) { return d, reason })
	}
	for _, test := range []struct {
		chain  Chain
		want   Decision
		reason string
	}{
		{nil, Deny, ""},
		{Chain{answer(NoOpinion, "a"), answer(NoOpinion, ""), answer(NoOpinion, "b")}, Deny, "a, b"},
		{Chain{answer(Deny, "no"), answer(Allow, "")}, Deny, "no"},
		{Chain{answer(NoOpinion, "a"), answer(Allow, "")}, Allow, ""},
	} {
		if d, reason := test.chain.Authorize(&Attributes{}); d != test.want || reason != test.reason {
			t.Errorf("%v %q, want %v %q", d, reason, test.want, test.reason)
		}
	}
}

type authorizerFunc func(*Attributes) (Decision, string)

func (f authorizerFunc) Authorize(a *Attributes) (Decision, string) { return f(a) }

func TestDenial(t *testing.T) {
	for _, test := range []struct {
		a      *Attributes
		reason string
		want   string
	}{
		{resourceRequest(somebody, "list", "", "pods", "", "shop", ""), "", `User "ann" cannot list resource "pods" in API group "" in the namespace "shop"`},
		{resourceRequest(somebody, "patch", "apps", "deployments", "scale", "shop", "web"), "", `User "ann" cannot patch resource "deployments/scale" in API group "apps" in the namespace "shop"`},
		{resourceRequest(node1, "get", "", "nodes", "", "", "n2"), "it is not yours", `User "system:node:n1" cannot get resource "nodes" in API group "" at the cluster scope: it is not yours`},
		{&Attributes{User: somebody, Verb: "get", Path: "/metrics"}, "", `User "ann" cannot get path "/metrics"`},
	} {
		if got := test.a.Denial(test.reason); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// TestNode goes through what a node may and what it may not, as node n1.
func TestNode(t *testing.T) {
	authorizer := NewNodeAuthorizer(testCluster)
	ask := func(verb, group, resource, subresource, namespace, name string) *Attributes {
		return resourceRequest(node1, verb, group, resource, subresource, namespace, name)
	}
	selecting := func(a *Attributes, selector string) *Attributes {
		a.FieldSelector = fields.ParseSelectorOrDie(selector)
		return a
	}
	for _, test := range []struct {
		name  string
		a     *Attributes
		allow bool
	}{
		{"get own pod", ask("get", "", "pods", "", "shop", "web"), true},
		{"get other's pod", ask("get", "", "pods", "", "shop", "db"), false},
		{"get unbound pod", ask("get", "", "pods", "", "shop", "waiting"), false},
		{"get pod that is not there", ask("get", "", "pods", "", "shop", "gone"), false},
		{"list all pods", ask("list", "", "pods", "", "", ""), false},
		{"list own pods", selecting(ask("list", "", "pods", "", "", ""), "spec.nodeName=n1"), true},
		{"watch own pods", selecting(ask("watch", "", "pods", "", "", ""), "spec.nodeName=n1,status.phase!=Failed"), true},
		{"watch other's pods", selecting(ask("watch", "", "pods", "", "", ""), "spec.nodeName=n2"), false},
		{"watch all but own pods", selecting(ask("watch", "", "pods", "", "", ""), "spec.nodeName!=n1"), false},
		{"create pod", ask("create", "", "pods", "", "shop", ""), false},
		{"update own pod", ask("update", "", "pods", "", "shop", "web"), false},
		{"patch own status", ask("patch", "", "pods", "status", "shop", "web"), true},
		{"patch other's status", ask("patch", "", "pods", "status", "shop", "db"), false},
		{"patch status of a pod that is gone", ask("patch", "", "pods", "status", "shop", "gone"), true},
		{"delete own pod", ask("delete", "", "pods", "", "shop", "web"), true},
		{"delete other's pod", ask("delete", "", "pods", "", "shop", "db"), false},
		{"delete all pods", ask("deletecollection", "", "pods", "", "shop", ""), false},
		{"bind a pod", ask("create", "", "pods", "binding", "shop", "waiting"), false},
		{"read logs", ask("get", "", "pods", "log", "shop", "web"), false},

		{"read a node", ask("get", "", "nodes", "", "", "n2"), true},
		{"watch nodes", ask("watch", "", "nodes", "", "", ""), true},
		{"register", ask("create", "", "nodes", "", "", ""), true},
		{"register as other", ask("create", "", "nodes", "", "", "n2"), false},
		{"patch own node", ask("patch", "", "nodes", "", "", "n1"), true},
		{"update own status", ask("update", "", "nodes", "status", "", "n1"), true},
		{"update other's status", ask("update", "", "nodes", "status", "", "n2"), false},
		{"delete own node", ask("delete", "", "nodes", "", "", "n1"), false},

		{"create lease", ask("create", "coordination.k8s.io", "leases", "", "kube-node-lease", ""), true},
		{"renew own lease", ask("update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1"), true},
		{"renew other's lease", ask("update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n2"), false},
		{"list leases", ask("list", "coordination.k8s.io", "leases", "", "kube-node-lease", ""), false},
		{"lease elsewhere", ask("get", "coordination.k8s.io", "leases", "", "kube-system", "n1"), false},

		{"configmap of a volume", ask("get", "", "configmaps", "", "shop", "volume"), true},
		{"configmap of a projection", ask("get", "", "configmaps", "", "shop", "projected"), true},
		{"configmap of a variable", ask("get", "", "configmaps", "", "shop", "key"), true},
		{"configmap of an environment", ask("get", "", "configmaps", "", "shop", "env"), true},
		{"watch one configmap", ask("watch", "", "configmaps", "", "shop", "volume"), true},
		{"watch configmaps", ask("watch", "", "configmaps", "", "shop", ""), false},
		{"configmap in another namespace", ask("get", "", "configmaps", "", "other", "volume"), false},
		{"configmap of nobody", ask("get", "", "configmaps", "", "shop", "free"), false},
		{"write a configmap", ask("update", "", "configmaps", "", "shop", "volume"), false},
		{"secret of a volume", ask("get", "", "secrets", "", "shop", "volume"), true},
		{"secret of a projection", ask("get", "", "secrets", "", "shop", "projected"), true},
		{"secret of a driver", ask("get", "", "secrets", "", "shop", "csi"), true},
		{"secret of a variable", ask("get", "", "secrets", "", "shop", "key"), true},
		{"secret of an environment", ask("get", "", "secrets", "", "shop", "env"), true},
		{"secret to pull with", ask("get", "", "secrets", "", "shop", "pull"), true},
		{"secret of another node's pod", ask("get", "", "secrets", "", "shop", "db"), false},
		{"all secrets", ask("list", "", "secrets", "", "", ""), false},

		{"write an event", ask("create", "", "events", "", "shop", ""), true},
		{"count an event up", ask("patch", "", "events", "", "shop", "e"), true},
		{"read events", ask("list", "", "events", "", "shop", ""), false},
		{"watch services", ask("watch", "", "services", "", "", ""), true},
		{"write a service", ask("update", "", "services", "", "shop", "web"), false},
		{"watch slices", ask("watch", "discovery.k8s.io", "endpointslices", "", "", ""), true},
		{"read namespaces", ask("list", "", "namespaces", "", "", ""), true},
		{"read deployments", ask("list", "apps", "deployments", "", "", ""), false},
		{"read service accounts", ask("get", "", "serviceaccounts", "", "shop", "default"), false},
		{"pods of another group", ask("get", "example.com", "pods", "", "shop", "web"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			decision, reason := authorizer.Authorize(test.a)
			want := NoOpinion
			if test.allow {
				want = Allow
			}
			if decision != want {
				t.Errorf("%v (%s), want %v", decision, reason, want)
			}
			if !test.allow && reason == "" {
				t.Error("refused without a reason")
			}
		})
	}
	if decision, _ := authorizer.Authorize(resourceRequest(somebody, "get", "", "pods", "", "shop", "web")); decision != NoOpinion {
		t.Errorf("an opinion on who is no node: %v", decision)
	}
}
