package registry

import (
	"context"
	"math/rand"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/apiserver/auth"
)

// TestAWriteSharesNothingWithTheCache makes of objects of random content all that the write path can make of them. What it
// makes shares no map, slice or pointer with the cached object, which is what it was.
//
// An update kept the old status with its maps, and defaulting then wrote into them while others read: the master died.
func TestAWriteSharesNothingWithTheCache(t *testing.T) {
	r, err := New(nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.cancel()
	for seed := range int64(20) {
		random := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(seed), scheme.Codecs)
		for _, info := range resource.All() {
			k := r.kinds[info.GroupVersionResource]
			cached, other := info.New().(Object), info.New().(Object)
			random.Fill(cached)
			random.Fill(other)
			before := deepCopy(cached)
			for name, made := range r.allWrites(t, k, cached, other) {
				if path := shared(cached, made); path != "" {
					t.Errorf("%s of seed %d, %s: %s is the cached object's", k.Kind, seed, name, path)
				}
			}
			if !reflect.DeepEqual(cached, before) {
				t.Errorf("%s of seed %d: the cached object has been changed", k.Kind, seed)
			}
		}
	}
}

// allWrites gives what each write makes of a cached object, whether or not it would be refused then.
func (r *Registry) allWrites(t *testing.T, k *kind, cached, other Object) map[string]Object {
	ctx := auth.WithUser(context.Background(), auth.System("test"))
	made := map[string]Object{}
	for _, subresource := range append([]string{""}, k.subresources...) {
		for name, proposed := range map[string]Object{"the same": deepCopy(cached), "another": deepCopy(other), "none": k.New().(Object)} {
			proposed.SetResourceVersion(cached.GetResourceVersion())
			proposed.SetUID(cached.GetUID())
			q := &request{kind: k, attributes: auth.Attributes{User: auth.System("test"), Verb: "update", Subresource: subresource}}
			q.attributes.Name, q.attributes.Namespace = cached.GetName(), cached.GetNamespace()
			obj, err := r.prepareUpdate(ctx, q, proposed, cached, "")
			if err == nil {
				made["update of "+subresource+" to "+name] = obj
			}
			made["proposal of "+subresource+" to "+name] = proposed
		}
	}
	if k.hasStatus {
		made["status"] = k.withStatus(deepCopy(other), cached)
	}
	for _, grace := range []int64{0, 1, 1 << 30} {
		if obj, err := r.markDeleted(k, cached, &metav1.DeleteOptions{GracePeriodSeconds: &grace}); err == nil {
			made["deletion"] = obj
		}
	}
	q := &request{kind: k}
	if pod, ok := cached.(*corev1.Pod); ok {
		free := *pod
		free.DeletionTimestamp, free.Spec.NodeName, free.Spec.SchedulingGates = nil, "", nil
		obj, err := bound(q, &free, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"a": "b"}}}, metav1.NewTime(time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		made["binding"] = obj
	}
	if scale, err := scaleOf(cached); err == nil {
		if obj, err := rescaled(q, cached, scale); err == nil {
			made["scale"] = obj
		}
	}
	return made
}

// shared finds a map, a slice or a pointer that two objects have in common: its path, or nothing.
func shared(a, b any) string {
	owned := map[uintptr]bool{}
	walk(reflect.ValueOf(a), "", func(p uintptr, _ string) bool { owned[p] = true; return true })
	var found string
	walk(reflect.ValueOf(b), "", func(p uintptr, path string) bool {
		if owned[p] && found == "" {
			found = path
		}
		return found == ""
	})
	return found
}

// walk calls f for each thing that v refers to, until f answers false.
func walk(v reflect.Value, path string, f func(p uintptr, path string) bool) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return v.IsNil() || v.Type().Elem().Size() == 0 || f(v.Pointer(), path) && walk(v.Elem(), path, f)
	case reflect.Interface:
		return v.IsNil() || walk(v.Elem(), path, f)
	case reflect.Map:
		if v.IsNil() || !f(v.Pointer(), path) {
			return v.IsNil()
		}
		for entries := v.MapRange(); entries.Next(); {
			if !walk(entries.Value(), path+"["+entries.Key().String()+"]", f) {
				return false
			}
		}
	case reflect.Slice:
		if v.Cap() == 0 || v.Type().Elem().Size() == 0 {
			return true
		}
		if !f(v.Pointer(), path) {
			return false
		}
		for i := range v.Len() {
			if !walk(v.Index(i), path+"[]", f) {
				return false
			}
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() { // it never changes, and its zone is shared by all
			return true
		}
		for i := range v.NumField() {
			if !walk(v.Field(i), path+"."+v.Type().Field(i).Name, f) {
				return false
			}
		}
	}
	return true
}

// TestSharedIsFound holds that the test above would find what it looks for.
func TestSharedIsFound(t *testing.T) {
	node := &corev1.Node{Status: corev1.NodeStatus{Capacity: corev1.ResourceList{}}}
	if path := shared(node, shallowCopy(node)); path != ".Status.Capacity" {
		t.Errorf("found %q", path)
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: []string{"a"}}}}}
	if path := shared(pod, deepCopy(pod)); path != "" {
		t.Errorf("found %q", path)
	}
	part := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Command: pod.Spec.Containers[0].Args}}}}
	if path := shared(pod, part); path != ".Spec.Containers[].Command" {
		t.Errorf("found %q", path)
	}
}
