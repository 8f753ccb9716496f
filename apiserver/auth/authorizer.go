package auth

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// Attributes is all that an authorizer may know of a request.
type Attributes struct {
	User User
	// Verb is Kubernetes' verb (get, list, watch, create, update, patch, delete, deletecollection)
	// for a resource, and the HTTP method in lower case for a path.
	Verb string
	// Group, Version, Resource, Subresource, Namespace and Name are of a request for a resource;
	// Name is empty when the request is for a collection, unless it selects one object by metadata.name,
	// and when it creates an object, whose name is only known to whoever has read it.
	Group, Version, Resource, Subresource string
	Namespace, Name                       string
	// FieldSelector and LabelSelector narrow a list, watch or deletecollection; nil means all.
	FieldSelector fields.Selector
	LabelSelector labels.Selector
	// Path is the URL's path, the only thing that a request which is not for a resource has.
	Path            string
	ResourceRequest bool
}

// ReadOnly tells whether the request can change nothing.
func (a *Attributes) ReadOnly() bool {
	switch a.Verb {
	case "get", "list", "watch", "head":
		return true
	}
	return false
}

// Denial is the sentence that tells the user what they were not allowed, in Kubernetes' words.
// The reason comes from the authorizer and may be empty.
func (a *Attributes) Denial(reason string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "User %q cannot %s ", a.User.Name, a.Verb)
	if !a.ResourceRequest {
		fmt.Fprintf(&b, "path %q", a.Path)
	} else {
		resource := a.Resource
		if a.Subresource != "" {
			resource += "/" + a.Subresource
		}
		fmt.Fprintf(&b, "resource %q in API group %q", resource, a.Group)
		if a.Namespace != "" {
			fmt.Fprintf(&b, " in the namespace %q", a.Namespace)
		} else {
			b.WriteString(" at the cluster scope")
		}
	}
	if reason != "" {
		b.WriteString(": " + reason)
	}
	return b.String()
}

// Decision is what one authorizer thinks of a request.
type Decision int

const (
	// NoOpinion leaves the request to the next authorizer of a chain; at the chain's end it is a denial.
	NoOpinion Decision = iota
	// Allow lets the request pass; later authorizers are not asked.
	Allow
	// Deny refuses the request; later authorizers are not asked.
	Deny
)

func (d Decision) String() string {
	switch d {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	default:
		return "no opinion"
	}
}

// Authorizer decides on requests. It is safe for concurrent use and does not block on the network.
type Authorizer interface {
	// Authorize decides, and gives a reason to show to the user when it does not allow.
	Authorize(a *Attributes) (decision Decision, reason string)
}

// Chain asks its authorizers in order until one allows or denies. Nobody's opinion is a denial, and
// the reasons of those who had none are told.
type Chain []Authorizer

// Authorize implements Authorizer; it never answers NoOpinion.
func (c Chain) Authorize(a *Attributes) (Decision, string) {
	var reasons []string
	for _, authorizer := range c {
		decision, reason := authorizer.Authorize(a)
		if decision != NoOpinion {
			return decision, reason
		}
		if reason != "" {
			reasons = append(reasons, reason)
		}
	}
	return Deny, strings.Join(reasons, ", ")
}

// NewAuthorizer is the chain of a cluster without roles: masters may do all, nodes what their pods
// need, everybody who is known may read what the server offers and how it does, everybody else only how it does.
func NewAuthorizer(pods Pods) Authorizer {
	return Chain{Masters{}, NewNodeAuthorizer(pods), Discovery{}, Public{}}
}

// Masters lets the group system:masters do everything.
type Masters struct{}

// Authorize implements Authorizer.
func (Masters) Authorize(a *Attributes) (Decision, string) {
	if a.User.In(GroupMasters) {
		return Allow, ""
	}
	return NoOpinion, ""
}

// Discovery lets every authenticated user read what clients read before they ask for anything:
// which kinds there are, their schemas, the server's version and health. Metrics are not among it.
type Discovery struct{}

// Authorize implements Authorizer.
func (Discovery) Authorize(a *Attributes) (Decision, string) {
	if a.ResourceRequest || !a.ReadOnly() || !a.User.In(GroupAuthenticated) {
		return NoOpinion, ""
	}
	switch a.Path {
	case "/", "/api", "/apis", "/version":
		return Allow, ""
	}
	for _, tree := range []string{"/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz"} {
		if a.Path == tree || strings.HasPrefix(a.Path, tree+"/") {
			return Allow, ""
		}
	}
	return NoOpinion, ""
}
