package image

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Reference is an image's name, whole.
type Reference struct {
	// Name is registry, repository and tag or digest; Repository is it without tag and digest.
	Name, Repository string
	// Tag is empty for a name by digest.
	Tag string
	ref name.Reference
}

// Parse completes a name as users write it: "nginx" is "docker.io/library/nginx:latest".
func Parse(reference string) (Reference, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return Reference{}, fmt.Errorf("image name %q is not valid: %w", reference, err)
	}
	out := Reference{Name: dockerIO(ref.Name()), Repository: dockerIO(ref.Context().Name()), ref: ref}
	if tag, ok := ref.(name.Tag); ok {
		out.Tag = tag.TagStr()
	}
	return out, nil
}

// dockerIO gives Docker Hub the name that users know.
func dockerIO(full string) string {
	if rest, ok := strings.CutPrefix(full, name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return full
}
