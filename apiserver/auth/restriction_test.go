package auth

import (
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestNodeRestriction(t *testing.T) {
	node := func(name string, change func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"node-role.kubernetes.io/worker": ""}},
			Spec: corev1.NodeSpec{PodCIDR: "10.42.0.0/24", PodCIDRs: []string{"10.42.0.0/24"}}}
		if change != nil {
			change(n)
		}
		return n
	}
	label := func(key string) *corev1.Node { return node("n1", func(n *corev1.Node) { n.Labels[key] = "x" }) }
	web, db := testCluster[0], testCluster[1]
	labelled := web.DeepCopy()
	labelled.Labels = map[string]string{"app": "db"}
	lease := func(name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: corev1.NamespaceNodeLease}}
	}
	fresh := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelHostname: "n1", "color": "red"}},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "new", Effect: corev1.TaintEffectNoSchedule}}}}
	for _, test := range []struct {
		name                       string
		verb, group, resource, sub string
		obj, old                   runtime.Object
		forbidden                  string
	}{
		{"register", "create", "", "nodes", "", fresh, nil, ""},
		{"register as other", "create", "", "nodes", "", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, nil, `is not allowed to modify node "n2"`},
		{"register with a role", "create", "", "nodes", "", label("node-restriction.kubernetes.io/secure"), nil,
			"is not allowed to modify labels: node-restriction.kubernetes.io/secure, node-role.kubernetes.io/worker"},
		{"choose own pods", "create", "", "nodes", "", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.0.0.0/8"}}}, nil, "its pod range"},
		{"own label", "patch", "", "nodes", "", label("example.com/color"), node("n1", nil), ""},
		{"node's own domain", "patch", "", "nodes", "", label("node.kubernetes.io/kind"), node("n1", nil), ""},
		{"zone", "patch", "", "nodes", "", label(corev1.LabelTopologyZone), node("n1", nil), ""},
		{"cluster's label", "patch", "", "nodes", "", label("something.k8s.io/x"), node("n1", nil), "modify labels: something.k8s.io/x"},
		{"cluster's label taken off", "patch", "", "nodes", "", node("n1", func(n *corev1.Node) { n.Labels = nil }), node("n1", nil), "modify labels: node-role.kubernetes.io/worker"},
		{"taint off", "update", "", "nodes", "", node("n1", nil), node("n1", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "a"}} }), "modify taints"},
		{"range", "update", "", "nodes", "", node("n1", func(n *corev1.Node) { n.Spec.PodCIDR = "10.0.0.0/8" }), node("n1", nil), "its pod range"},
		{"owner", "update", "", "nodes", "", node("n1", func(n *corev1.Node) { n.OwnerReferences = []metav1.OwnerReference{{Name: "a"}} }), node("n1", nil), "modify ownerReferences"},
		{"own status", "update", "", "nodes", "status", node("n1", nil), node("n1", nil), ""},
		{"other's status", "update", "", "nodes", "status", node("n2", nil), node("n2", nil), `is not allowed to modify node "n2"`},
		{"own node's end", "delete", "", "nodes", "", nil, node("n1", nil), "is not allowed to delete itself"},

		{"mirror pod", "create", "", "pods", "", web, nil, "is not allowed to create pods"},
		{"own pod's status", "patch", "", "pods", "status", web, web, ""},
		{"own pod's label", "patch", "", "pods", "status", labelled, web, "cannot update labels through pod status"},
		{"own pod", "update", "", "pods", "", web, web, "can only update the status of pods"},
		{"other's status", "patch", "", "pods", "status", db, db, "with spec.nodeName set to itself"},
		{"own pod's end", "delete", "", "pods", "", nil, web, ""},
		{"other's end", "delete", "", "pods", "", nil, db, "with spec.nodeName set to itself"},

		{"lease", "create", "coordination.k8s.io", "leases", "", lease("n1"), nil, ""},
		{"other's lease", "create", "coordination.k8s.io", "leases", "", lease("n2"), nil, `is not allowed to modify lease "n2"`},
		{"event", "create", "", "events", "", &corev1.Event{}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := resourceRequest(node1, test.verb, test.group, test.resource, test.sub, "", "")
			err := NodeRestriction{}.Admit(a, test.obj, test.old)
			if test.forbidden == "" {
				if err != nil {
					t.Error(err)
				}
			} else if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.forbidden) {
				t.Errorf("got %v, want %s", err, test.forbidden)
			}
			a.User = admin
			if err := (NodeRestriction{}).Admit(a, test.obj, test.old); err != nil {
				t.Errorf("the administrator: %v", err)
			}
		})
	}
}
