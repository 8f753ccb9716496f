package client_test

import (
	"context"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

// cutOff is a master that is cut off from the others: it can't tell what is newest, and shows an old state to whoever
// takes any.
type cutOff struct {
	client.Objects
	mu   sync.Mutex
	away bool
	// asked gets the version of each list that was asked for while away.
	asked chan string
}

func (c *cutOff) List(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (runtime.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.away {
		return c.Objects.List(ctx, r, namespace, opts)
	}
	select {
	case c.asked <- opts.ResourceVersion:
	default:
	}
	if opts.ResourceVersion != "" {
		return &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}, nil
	}
	return nil, apierrors.NewServiceUnavailable("no leader")
}

func (c *cutOff) Watch(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return nil, apierrors.NewServiceUnavailable("no leader")
	}
	return c.Objects.Watch(ctx, r, namespace, opts)
}

// An informer that starts while its master is cut off must not take an old state for the present one: what it doesn't
// show would be taken for gone.
func TestInformersBeginWithWhatTheStoreHolds(t *testing.T) {
	cluster := clienttest.New()
	if _, err := client.For[*corev1.ConfigMap](cluster).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "new"}}); err != nil {
		t.Fatal(err)
	}
	master := &cutOff{Objects: cluster, away: true, asked: make(chan string, 1)}
	informer := client.NewInformer[*corev1.ConfigMap](master, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	defer running.Wait()
	defer cancel()
	if version := <-master.asked; version != "" {
		t.Errorf("the list was of version %q, want the newest", version)
	}
	if informer.HasSynced() {
		t.Error("the informer takes an old state for the present one")
	}
	master.mu.Lock()
	master.away = false
	master.mu.Unlock()
	bound, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	if !cache.WaitForCacheSync(bound.Done(), informer.HasSynced) {
		t.Fatal("the informer doesn't begin though the master is back")
	}
	if _, ok, _ := informer.GetStore().GetByKey("default/new"); !ok {
		t.Error("the informer lacks what the store holds")
	}
}
