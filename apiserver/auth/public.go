package auth

import "slices"

// Anonymous is the user of a request that shows no credentials. It is let in to public paths alone.
var Anonymous = User{Name: "system:anonymous", Groups: []string{GroupUnauthenticated}}

// publicPaths are those that tell a load balancer or a probe how the server does, and a client how old it is. What is below them
// is not public: it names the parts of the server.
var publicPaths = []string{"/healthz", "/livez", "/readyz", "/version", "/version/"}

func isPublic(path string) bool { return slices.Contains(publicPaths, path) }

// Public lets everybody, known or not, read the public paths, as Kubernetes' role system:public-info-viewer does.
type Public struct{}

// Authorize implements Authorizer.
func (Public) Authorize(a *Attributes) (Decision, string) {
	return allowIf(!a.ResourceRequest && a.ReadOnly() && isPublic(a.Path), "")
}
