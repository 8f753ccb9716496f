package rest

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// notFoundText is what Kubernetes' clients look for.
const notFoundText = "the server could not find the requested resource"

// notFoundPath says that there is nothing at a path.
func notFoundPath() error { return notFound(notFoundText) }

func notFound(text string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: text, Details: &metav1.StatusDetails{},
	}}
}

// nothingAt says that there is nothing at a path, and, where Kubernetes has something there, that this server does not have it yet:
// who asked has made no mistake.
func (h *Handler) nothingAt(path string) error {
	// What is behind a proxy has a path of its own.
	whole, _, proxied := strings.Cut(path, "/proxy/")
	if proxied {
		whole += "/proxy"
	}
	t, ok := parsePath(whole)
	if !ok {
		return notFoundPath()
	}
	if subresource := t.subresource; subresource != "" {
		t.subresource = ""
		if h.serves(t) && slices.Contains(absentSubresources[t.GroupResource()], subresource) {
			return notFound(fmt.Sprintf("%s: this server does not have %s/%s yet", notFoundText, t.Resource, subresource))
		}
	}
	if resources := kubernetesResources(); resources[t.GroupVersionResource] && !h.serves(target{GroupVersionResource: t.GroupVersionResource}) {
		return notFound(fmt.Sprintf("%s: this server does not have %s of %s yet", notFoundText, t.Resource, t.GroupVersion()))
	}
	return notFoundPath()
}

// absentSubresources are those that Kubernetes has of kinds that are served.
var absentSubresources = map[schema.GroupResource][]string{
	{Resource: "pods"}:            {"exec", "attach", "portforward", "proxy", "ephemeralcontainers", "resize", logSubresource},
	{Resource: "services"}:        {"proxy", "status"},
	{Resource: "nodes"}:           {"proxy"},
	{Resource: "serviceaccounts"}: {"token"},
}

var releasedVersion = regexp.MustCompile(`^v[0-9]+$`)

// kubernetesResources are the resources of Kubernetes' released versions, as far as its kinds tell.
var kubernetesResources = sync.OnceValue(func() map[schema.GroupVersionResource]bool {
	resources := map[schema.GroupVersionResource]bool{}
	for kind := range scheme.Scheme.AllKnownTypes() {
		if releasedVersion.MatchString(kind.Version) && !strings.HasSuffix(kind.Kind, "List") && !strings.HasSuffix(kind.Kind, "Options") {
			plural, _ := meta.UnsafeGuessKindToResource(kind)
			resources[plural] = true
		}
	}
	return resources
})
