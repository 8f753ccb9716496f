package immutable

import (
	"runtime"
	"strings"
	"testing"
	"weak"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newDetector() *detector { return &detector{subjects: map[weak.Pointer[byte]]*subject{}} }

func newNode(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "7", Labels: map[string]string{"zone": "a"}}}
}

func TestAChangedObjectIsNoticed(t *testing.T) {
	d := newDetector()
	one, other := newNode("one"), newNode("other")
	d.watch(one)
	d.watch(other)
	d.watch(one)
	if err := d.check(); err != nil {
		t.Fatalf("nothing has changed: %v", err)
	}
	one.Labels["zone"] = "b"
	d.watch(one) // what it was at first counts
	err := d.check()
	if err == nil {
		t.Fatal("the change is not noticed")
	}
	for _, want := range []string{"1 objects", "v1.Node /one at resource version 7", `"a"`, `"b"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the report does not have %q:\n%v", want, err)
		}
	}
	runtime.KeepAlive(other)
}

// TestItemsOfAListAreWatched: informers hold what is inside of a list.
func TestItemsOfAListAreWatched(t *testing.T) {
	d := newDetector()
	list := &corev1.NodeList{Items: []corev1.Node{*newNode("one"), *newNode("two")}}
	for i := range list.Items {
		d.watch(&list.Items[i])
	}
	list.Items[1].Spec.Unschedulable = true
	if err := d.check(); err == nil || !strings.Contains(err.Error(), "/two ") || strings.Contains(err.Error(), "/one ") {
		t.Fatalf("want the change of node two, got %v", err)
	}
	runtime.KeepAlive(list)
}

func TestWhatIsGoneIsForgotten(t *testing.T) {
	d := newDetector()
	for range 100 {
		d.watch(newNode("gone"))
	}
	kept := newNode("kept")
	d.watch(kept)
	for range 3 { // a weak pointer is cleared by the collection that finds its object dead
		runtime.GC()
	}
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
	if got := len(d.all()); got != 1 {
		t.Errorf("%d objects are remembered, want the one that is left", got)
	}
	runtime.KeepAlive(kept)
}

func TestASecretIsNotShown(t *testing.T) {
	d := newDetector()
	password := &corev1.Secret{Data: map[string][]byte{"password": []byte("hunter2")}}
	d.watch(password)
	password.Data["password"] = []byte("hunter3")
	if err := d.check(); err == nil || !strings.Contains(err.Error(), secret) {
		t.Fatalf("want a change without what changed, got %v", err)
	}
}

func TestItIsOnInTests(t *testing.T) {
	if !Enabled() {
		t.Fatalf("the detector is off: is %s set?", Variable)
	}
}
