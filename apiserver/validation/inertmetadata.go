package validation

import (
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// inertKeys are labels or annotations that ask for something that is not done. Labels and annotations that only say
// something are none.
type inertKeys struct {
	// in is labels or annotations.
	in string
	// name is the whole name or, if it ends with /, what comes before the rest of it.
	name string
	// but is what a user should know, after the path.
	but string
	// unless is the value that needs nothing done.
	unless string
}

func (k *inertKeys) match(name, value string) bool {
	if value == k.unless {
		return false
	}
	return name == k.name || strings.HasSuffix(k.name, "/") && strings.HasPrefix(name, k.name)
}

// What the labels of a namespace and the annotations of a pod and of its template ask for and don't get.
var (
	namespaceKeys = []inertKeys{
		{"labels", "pod-security.kubernetes.io/enforce", noPodSecurity, "privileged"},
		{"labels", "pod-security.kubernetes.io/audit", noPodSecurity, "privileged"},
		{"labels", "pod-security.kubernetes.io/warn", noPodSecurity, "privileged"},
	}
	podKeys = []inertKeys{
		{"annotations", "container.apparmor.security.beta.kubernetes.io/", notApplied, "unconfined"},
		{"annotations", "seccomp.security.alpha.kubernetes.io/", notApplied, "unconfined"},
		{"annotations", "container.seccomp.security.alpha.kubernetes.io/", notApplied, "unconfined"},
		{"annotations", "kubernetes.io/ingress-bandwidth", noBandwidth, ""},
		{"annotations", "kubernetes.io/egress-bandwidth", noBandwidth, ""},
	}
)

const (
	noPodSecurity = "pods are not held to it yet"
	noBandwidth   = "nodes do not limit what a pod sends and receives"
)

// metadata tells the inert labels and annotations of an object.
func (w *inertWalk) metadata(object reflect.Value, keys []inertKeys, path *field.Path) {
	if len(keys) == 0 {
		return
	}
	meta := object.FieldByName("ObjectMeta").Interface().(metav1.ObjectMeta)
	for _, given := range []struct {
		in     string
		values map[string]string
	}{{"labels", meta.Labels}, {"annotations", meta.Annotations}} {
		for name, value := range sorted(given.values) {
			for _, key := range keys {
				if key.in == given.in && key.match(name, value) {
					w.tell(inertKey{object.Type(), name}, child(path, "metadata").Child(given.in).Key(name), key.but)
				}
			}
		}
	}
}
