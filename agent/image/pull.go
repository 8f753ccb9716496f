package image

import (
	"context"
	"fmt"
	"runtime"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Credentials are what a registry asks of who pulls; the zero value is nobody.
type Credentials struct {
	Username, Password, Auth, IdentityToken, RegistryToken string
}

func (c Credentials) authenticator() authn.Authenticator {
	if c == (Credentials{}) {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: c.Username, Password: c.Password, Auth: c.Auth,
		IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
	})
}

// Pull fetches an image of this machine's platform from its registry. Layers that are here already are not
// fetched again.
func (s *Store) Pull(ctx context.Context, reference string, credentials Credentials) (Image, error) {
	ref, err := Parse(reference)
	if err != nil {
		return Image{}, err
	}
	s.mu.Lock()
	builtin, ok := s.builtin[ref.Repository]
	s.mu.Unlock()
	if ok {
		return *builtin, nil
	}
	source, err := remote.Image(ref.ref, remote.WithContext(ctx), remote.WithAuth(credentials.authenticator()), remote.WithPlatform(platform()))
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", ref.Name, err)
	}
	digest, err := source.Digest()
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", ref.Name, err)
	}
	var names []string
	if ref.Tag != "" {
		names = []string{ref.Name}
	}
	image, err := s.store(ctx, source, names, []string{ref.Repository + "@" + digest.String()})
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", ref.Name, err)
	}
	return image, nil
}

func platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }
