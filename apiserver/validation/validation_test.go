package validation

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/apiserver/defaults"
)

// parse reads one manifest, puts it into the namespace "default" if it needs one, and defaults it.
func parse[T runtime.Object](t *testing.T, manifest string) T {
	t.Helper()
	obj, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(manifest), nil, nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, manifest)
	}
	info, err := resource.Of(obj)
	if err != nil {
		t.Fatal(err)
	}
	if accessor := obj.(metav1.Object); info.Namespaced && accessor.GetNamespace() == "" {
		accessor.SetNamespace(metav1.NamespaceDefault)
	}
	defaults.Apply(obj)
	return obj.(T)
}

// expect compares errors with what they should say, in any order. An expectation that ends in … is
// the beginning of an error.
func expect(t *testing.T, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	for _, w := range want {
		i := slices.IndexFunc(got, func(g string) bool {
			if prefix, ok := strings.CutSuffix(w, "…"); ok {
				return strings.HasPrefix(g, prefix)
			}
			return g == w
		})
		if i < 0 {
			t.Errorf("missing: %s\nin:      %s", w, strings.Join(got, "\n         "))
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	for _, g := range got {
		t.Errorf("not expected: %s", g)
	}
}

// TestTypical accepts manifests as people write them, and accepts them again as their own update.
func TestTypical(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no manifests", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, manifest := range strings.Split(string(content), "\n---\n") {
			obj := parse[runtime.Object](t, manifest)
			accessor := obj.(metav1.Object)
			t.Run(obj.GetObjectKind().GroupVersionKind().Kind+"/"+accessor.GetName(), func(t *testing.T) {
				expect(t, Create(obj))
				accessor.SetResourceVersion("1")
				expect(t, Update(obj.DeepCopyObject(), obj))
				expect(t, UpdateStatus(obj.DeepCopyObject(), obj))
			})
		}
	}
}

func TestMetadata(t *testing.T) {
	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: "
	for _, test := range []struct {
		name, manifest string
		want           []string
	}{
		{"no name", configMap + `{}`,
			[]string{`metadata.name: Required value: name or generateName is required`}},
		{"not yet generated", configMap + `{generateName: web-}`, []string{`metadata.name: Required value: name or generateName is required`}},
		{"subdomain", configMap + `{name: a.b-c}`, nil},
		{"bad name", configMap + `{name: Web_1}`, []string{`metadata.name: Invalid value: "Web_1": a lowercase RFC 1123 subdomain must consist of…`}},
		{"bad label", configMap + `{name: web, labels: {a b: c}}`, []string{`metadata.labels: Invalid value: "a b": name part must consist of…`}},
		{"bad label value", configMap + `{name: web, labels: {a: "c d"}}`, []string{`metadata.labels: Invalid value: "c d": a valid label must be…`}},
		{"bad annotation", configMap + `{name: web, annotations: {"a b": "x"}}`, []string{`metadata.annotations: Invalid value: "a b": name part must consist of…`}},
		{"dot in a namespace", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}",
			[]string{`metadata.name: Invalid value: "a.b": must not contain dots`}},
		{"namespace of a node", "apiVersion: v1\nkind: Node\nmetadata: {name: n1, namespace: default}",
			[]string{`metadata.namespace: Forbidden: not allowed on this type`}},
		{"digit before a service", "apiVersion: v1\nkind: Service\nmetadata: {name: 1web}\nspec: {ports: [{port: 80}]}",
			[]string{`metadata.name: Invalid value: "1web": a DNS-1035 label must consist of…`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			expect(t, Create(parse[runtime.Object](t, test.manifest)), test.want...)
		})
	}
}

func TestMetadataUpdate(t *testing.T) {
	old := parse[runtime.Object](t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, uid: a, resourceVersion: '1'}")
	change := func(f func(metav1.Object)) runtime.Object {
		obj := old.DeepCopyObject()
		f(obj.(metav1.Object))
		return obj
	}
	expect(t, Update(change(func(o metav1.Object) { o.SetName("other") }), old),
		`metadata.name: Invalid value: "other": field is immutable`)
	expect(t, Update(change(func(o metav1.Object) { o.SetUID("b") }), old),
		`metadata.uid: Invalid value: "b": field is immutable`)
	expect(t, Update(change(func(o metav1.Object) { o.SetResourceVersion("") }), old),
		`metadata.resourceVersion: Invalid value: "": must be specified for an update`)
}

// TestOtherKind updates an object with one of another kind, which must be refused and not panic.
func TestOtherKind(t *testing.T) {
	for _, info := range resource.All() {
		for _, other := range resource.All() {
			if info == other {
				continue
			}
			Update(info.New(), other.New())
			UpdateStatus(info.New(), other.New())
		}
	}
}
