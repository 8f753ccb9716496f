package master

import (
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/apiserver/auth"
)

// TestPanicOfTheRegistryIsAnErrorToALoop calls a registry that can only panic.
func TestPanicOfTheRegistryIsAnErrorToALoop(t *testing.T) {
	objects := asUser{nil, auth.System("test"), slog.New(slog.DiscardHandler)}
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	if _, err := objects.Get(t.Context(), pods, "default", "a", metav1.GetOptions{}); !apierrors.IsInternalError(err) {
		t.Errorf("get: %v", err)
	}
	if w, err := objects.Watch(t.Context(), pods, "default", metav1.ListOptions{}); w != nil || !apierrors.IsInternalError(err) {
		t.Errorf("watch: %v", err)
	}
}
