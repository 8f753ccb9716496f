package registry

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// parseVersion reads a resource version that a client sent; an empty one is 0.
func parseVersion(version string) (int64, error) {
	if version == "" {
		return 0, nil
	}
	revision, err := strconv.ParseInt(version, 10, 64)
	if err != nil || revision < 0 {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q: use one that a list, get or watch has given", version))
	}
	return revision, nil
}

// continueToken says where the next page of a list begins.
type continueToken struct {
	// Revision is what all pages are of; -1: the next page is of whatever is then the newest.
	Revision int64 `json:"rv"`
	// Start is the first key that may be on the page.
	Start string `json:"start"`
}

const newestRevision = -1

// tokenLimit bounds a token: no key is longer.
const tokenLimit = 4096

// String is the token's form on the wire.
func (t continueToken) String() string {
	b, err := json.Marshal(t)
	if err != nil { // a struct of a number and a string always marshals
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseContinue reads a token. It must be of a list of the same prefix, or it leads elsewhere.
func parseContinue(token, prefix string) (continueToken, error) {
	var t continueToken
	invalid := func(why string) error {
		return apierrors.NewBadRequest(fmt.Sprintf("continue key is not valid: %s: start the list over", why))
	}
	if len(token) > tokenLimit {
		return t, invalid("it is too long")
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(token, "="))
	if err != nil {
		return t, invalid("it is not base64")
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return t, invalid("it is not a token of this server")
	}
	if t.Start == "" || t.Revision == 0 || t.Revision < newestRevision || !strings.HasPrefix(t.Start, prefix) {
		return t, invalid("it is not of this list")
	}
	return t, nil
}
