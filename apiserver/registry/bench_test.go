package registry_test

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/registry/registrytest"
	"github.com/ctlplane/ctlplane/client"
)

func newBench(b *testing.B) *fixture {
	storage := registrytest.NewStorage(b)
	r := registrytest.New(b, storage, registry.Options{Logger: slog.New(slog.DiscardHandler)})
	return &fixture{Registry: r, storage: storage, ctx: registrytest.Admin(b)}
}

// BenchmarkCreateAndBind is the registry's share of scheduling a pod.
func BenchmarkCreateAndBind(b *testing.B) {
	f := newBench(b)
	var n atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			name := fmt.Sprintf("p%d", n.Add(1))
			if _, err := client.For[*corev1.Pod](f).Create(f.ctx, newPod(name)); err != nil {
				b.Fatal(err)
			}
			err := client.Bind(f.ctx, f, &corev1.Binding{
				ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Target: corev1.ObjectReference{Name: "n"}})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkList is a consistent list of 1000 pods of one node among 10000.
func BenchmarkList(b *testing.B) {
	f := newBench(b)
	for i := range 10000 {
		pod := newPod(fmt.Sprintf("p%d", i))
		pod.Spec.NodeName = fmt.Sprintf("n%d", i%10)
		if _, err := client.For[*corev1.Pod](f).Create(f.ctx, pod); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		pods, _, err := client.For[*corev1.Pod](f).List(f.ctx, "", metav1.ListOptions{FieldSelector: "spec.nodeName=n1"})
		if err != nil || len(pods) != 1000 {
			b.Fatal(len(pods), err)
		}
	}
}
