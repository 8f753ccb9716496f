package registry

import (
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// ObjectVerbs lists what can be done with one object, or with a subresource of it that the registry serves: the one place that says
// so, for every face.
func ObjectVerbs(subresource string) []string {
	switch subresource {
	case "":
		return []string{"get", "watch", "update", "patch", "delete"}
	case bindingSubresource, evictionSubresource:
		return []string{"create"}
	case finalizeSubresource:
		return []string{"update"}
	}
	return []string{"get", "update", "patch"}
}

// checkVerb refuses what can't be done with the request's subresource.
func (q *request) checkVerb() error {
	subresource := q.subresource()
	if subresource == "" || slices.Contains(ObjectVerbs(subresource), q.attributes.Verb) {
		return nil
	}
	return apierrors.NewMethodNotSupported(q.kind.GroupResource(), q.attributes.Verb+" "+subresource)
}
