package rest

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// target is what a URL's path names: a resource, or an object, or a part of one.
type target struct {
	schema.GroupVersionResource
	namespace, name, subresource string
}

// parsePath reads a path below /api or /apis. ok is false for a path that can name no resource, such
// as one of discovery.
func parsePath(path string) (t target, ok bool) {
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/"), "/")
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		t.Version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		t.Group, t.Version, parts = parts[1], parts[2], parts[3:]
	default:
		return t, false
	}
	if parts[0] == "namespaces" && len(parts) >= 3 && !ofNamespace(t, parts) {
		t.namespace, parts = parts[1], parts[2:]
		if t.namespace == "" {
			return t, false
		}
	}
	if len(parts) > 3 {
		return t, false
	}
	for _, part := range parts {
		if part == "" {
			return t, false
		}
	}
	t.Resource = parts[0]
	if len(parts) > 1 {
		t.name = parts[1]
	}
	if len(parts) > 2 {
		t.subresource = parts[2]
	}
	return t, true
}

// ofNamespace tells whether what follows a namespace's name is a part of the namespace itself.
func ofNamespace(t target, parts []string) bool {
	return t.Group == "" && len(parts) == 3 && (parts[2] == "status" || parts[2] == "finalize")
}
