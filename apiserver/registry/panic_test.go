package registry_test

import (
	"log/slog"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/registry/registrytest"
	"github.com/ctlplane/ctlplane/kv"
)

// faultyStorage panics over its first streams.
type faultyStorage struct {
	*registrytest.Storage
	left atomic.Int32
}

func (s *faultyStorage) NewWatchStream() *kv.WatchStream {
	if s.left.Add(-1) >= 0 {
		panic("at the wrong time")
	}
	return s.Storage.NewWatchStream()
}

// TestPanicOfTheCacheLoadsItAnew has the goroutine that fills the caches panic twice.
func TestPanicOfTheCacheLoadsItAnew(t *testing.T) {
	storage := &faultyStorage{Storage: registrytest.NewStorage(t)}
	storage.left.Store(2)
	objects := registrytest.New(t, storage, registry.Options{Logger: slog.New(slog.DiscardHandler)})
	ctx, maps := registrytest.Admin(t), corev1.SchemeGroupVersion.WithResource("configmaps")
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}}
	if _, err := objects.Create(ctx, maps, "default", "", "", made, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := objects.Get(ctx, maps, "default", "a", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}
