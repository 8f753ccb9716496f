package pods

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

// forbidding lets a node read no pod, as the API server does with pods that aren't the node's, or aren't there.
type forbidding struct{ client.Objects }

func (forbidding) Get(_ context.Context, r schema.GroupVersionResource, _, name string, _ metav1.GetOptions) (runtime.Object, error) {
	return nil, apierrors.NewForbidden(r.GroupResource(), name, errors.New("no relationship found"))
}

// TestStatusOfAPodThatIsGoneIsGivenUp: the API server forbids a node to read a pod that is gone. Its status was tried for ever.
func TestStatusOfAPodThatIsGoneIsGivenUp(t *testing.T) {
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	p := newPublisher(forbidding{clienttest.New()}, store, clock.RealClock{}, slog.New(slog.DiscardHandler))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "1"}}
	if current, err := p.latest(t.Context(), pod, true); current != nil || err != nil {
		t.Errorf("a pod that the cluster doesn't show is %v, %v; want it gone", current, err)
	}
	if err := store.Add(pod); err != nil {
		t.Fatal(err)
	}
	if _, err := p.latest(t.Context(), pod, true); !apierrors.IsForbidden(err) {
		t.Errorf("a pod that the cluster shows, and which may not be read now: %v; want that tried again", err)
	}
}
