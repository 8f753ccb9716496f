package embedded

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/ctlplane/ctlplane/agent/image"
)

// ListImages lists the node's images, or the one that filter names.
func (r *Runtime) ListImages(_ context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	if name := filter.GetImage().GetImage(); name != "" {
		img, err := r.images.Get(name)
		if errors.Is(err, image.ErrNotFound) {
			return nil, nil
		}
		return []*runtimeapi.Image{imageInfo(img)}, err
	}
	var list []*runtimeapi.Image
	for _, img := range r.images.List() {
		list = append(list, imageInfo(img))
	}
	return list, nil
}

// ImageStatus describes an image; its Image is nil when the node does not have it.
func (r *Runtime) ImageStatus(_ context.Context, spec *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	img, err := r.images.Get(spec.GetImage())
	if errors.Is(err, image.ErrNotFound) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ImageStatusResponse{Image: imageInfo(img)}, nil
}

// PullImage fetches an image from its registry and returns its ID.
func (r *Runtime) PullImage(ctx context.Context, spec *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	img, err := r.images.Pull(ctx, spec.GetImage(), image.Credentials{
		Username: auth.GetUsername(), Password: auth.GetPassword(), Auth: auth.GetAuth(),
		IdentityToken: auth.GetIdentityToken(), RegistryToken: auth.GetRegistryToken(),
	})
	return img.ID, err
}

// RemoveImage removes an image that no container has.
func (r *Runtime) RemoveImage(_ context.Context, spec *runtimeapi.ImageSpec) error {
	img, err := r.images.Get(spec.GetImage())
	if errors.Is(err, image.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		if c.image == img.ID {
			return fmt.Errorf("image %s is in use by container %s: remove that first", spec.GetImage(), c.id)
		}
	}
	return r.images.Remove(spec.GetImage())
}

func imageInfo(img image.Image) *runtimeapi.Image {
	info := &runtimeapi.Image{
		Id: img.ID, RepoTags: img.Names, RepoDigests: img.Digests, Size: uint64(img.Size),
		Spec: &runtimeapi.ImageSpec{Image: img.ID},
	}
	name, _, _ := strings.Cut(img.Config.User, ":")
	if uid, err := strconv.ParseInt(name, 10, 64); err == nil {
		info.Uid = &runtimeapi.Int64Value{Value: uid}
	} else {
		info.Username = name
	}
	return info
}
