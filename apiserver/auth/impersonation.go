package auth

import (
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// impersonationPrefix begins the names of all headers, and of all gRPC metadata, by which a caller asks to act as another:
// Impersonate-User, -Group, -Uid and -Extra-….
const impersonationPrefix = "impersonate-"

// RefuseImpersonation refuses a request with headers, or metadata, that ask to act as another user. This server does not do that,
// and to pass over the wish would be to act with the caller's own rights, which are greater as a rule.
func RefuseImpersonation(headers map[string][]string) error {
	for name, values := range headers {
		if len(name) < len(impersonationPrefix) || !strings.EqualFold(name[:len(impersonationPrefix)], impersonationPrefix) {
			continue
		}
		whom := ""
		if strings.EqualFold(name[len(impersonationPrefix):], "user") && len(values) > 0 {
			whom = values[0]
		}
		return apierrors.NewForbidden(schema.GroupResource{Resource: "users"}, whom, errors.New("this server does not impersonate users, and nothing was done: "+
			"leave out the header "+name+" (kubectl's --as, --as-group, --as-uid and --as-user-extra), and use credentials of the user's own"))
	}
	return nil
}
