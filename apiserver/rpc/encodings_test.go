package rpc

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEncodingsShareAndStayBounded(t *testing.T) {
	e := newEncodings(10 << 10)
	object := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{"x": strings.Repeat("x", 1000)}}}
	}
	shared := object()
	first, err := e.of(shared)
	if err != nil {
		t.Fatal(err)
	}
	if second, _ := e.of(shared); &first[0] != &second[0] {
		t.Error("the same object was encoded twice")
	}
	for range 100 {
		if _, err := e.of(object()); err != nil {
			t.Fatal(err)
		}
	}
	if e.bytes > e.limit || len(e.known) != len(e.order) || len(e.known) > 10 {
		t.Errorf("%d objects with %d bytes are kept", len(e.known), e.bytes)
	}
	if _, kept := e.known[shared]; kept {
		t.Error("the oldest object is still kept")
	}
}
