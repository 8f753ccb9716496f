package pods

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ensureImage makes sure that the node has a container's image, as its pull policy wants.
func (w *worker) ensureImage(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (*runtimeapi.Image, error) {
	spec := &runtimeapi.ImageSpec{Image: c.Image, UserSpecifiedImage: c.Image}
	present, err := w.m.cfg.Images.ImageStatus(ctx, spec, false)
	if err != nil {
		return nil, &startError{"InvalidImageName", fmt.Errorf("failed to apply default image tag %q: %w", c.Image, err)}
	}
	policy := pullPolicy(c)
	if present.GetImage() != nil && policy != corev1.PullAlways {
		w.event(pod, c, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", c.Image))
		return present.GetImage(), nil
	}
	if policy == corev1.PullNever {
		return nil, &startError{"ErrImageNeverPull", fmt.Errorf("container image %q is not present with pull policy of Never", c.Image)}
	}
	return w.pull(ctx, pod, c, spec)
}

func pullPolicy(c *corev1.Container) corev1.PullPolicy {
	if c.ImagePullPolicy != "" {
		return c.ImagePullPolicy
	}
	if strings.HasSuffix(c.Image, ":latest") || !strings.Contains(c.Image[strings.LastIndexByte(c.Image, '/')+1:], ":") {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func (w *worker) pull(ctx context.Context, pod *corev1.Pod, c *corev1.Container, spec *runtimeapi.ImageSpec) (*runtimeapi.Image, error) {
	w.event(pod, c, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	begin := w.m.clock.Now()
	auths := w.credentials(ctx, pod, c.Image)
	var err error
	for _, auth := range auths {
		if _, err = w.m.cfg.Images.PullImage(ctx, spec, auth, nil); err == nil {
			break
		}
	}
	if err != nil {
		return nil, &startError{reasonErrPull, fmt.Errorf("failed to pull image %q: %w", c.Image, err)}
	}
	pulled, err := w.m.cfg.Images.ImageStatus(ctx, spec, false)
	if err != nil || pulled.GetImage() == nil {
		return nil, &startError{"ImageInspectError", fmt.Errorf("image %q is gone after its pull: %w", c.Image, err)}
	}
	took := w.m.clock.Since(begin).Round(time.Millisecond)
	w.event(pod, c, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %s. Image size: %d bytes.", c.Image, took, pulled.GetImage().GetSize()))
	return pulled.GetImage(), nil
}

// credentials are those of the pod's pull secrets that are for the image's registry, and nobody's last.
func (w *worker) credentials(ctx context.Context, pod *corev1.Pod, image string) []*runtimeapi.AuthConfig {
	var list []*runtimeapi.AuthConfig
	for _, ref := range pod.Spec.ImagePullSecrets {
		secret, err := w.m.objects.Secret(ctx, pod.Namespace, ref.Name)
		if err != nil {
			w.event(pod, nil, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret", fmt.Sprintf("Unable to retrieve image pull secret %s/%s; attempting to pull the image may not succeed.", pod.Namespace, ref.Name))
			continue
		}
		list = append(list, authsFor(secret, image)...)
	}
	return append(list, nil)
}

// registryAuth is one entry of a docker configuration file.
type registryAuth struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

func authsFor(secret *corev1.Secret, image string) []*runtimeapi.AuthConfig {
	entries := map[string]registryAuth{}
	if content, ok := secret.Data[corev1.DockerConfigJsonKey]; ok {
		var file struct {
			Auths map[string]registryAuth `json:"auths"`
		}
		if json.Unmarshal(content, &file) == nil {
			entries = file.Auths
		}
	} else if content, ok := secret.Data[corev1.DockerConfigKey]; ok {
		_ = json.Unmarshal(content, &entries) // one that can't be read holds no credentials
	}
	var list []*runtimeapi.AuthConfig
	for server, auth := range entries {
		if !serves(server, image) {
			continue
		}
		if decoded, err := base64.StdEncoding.DecodeString(auth.Auth); err == nil && auth.Username == "" {
			auth.Username, auth.Password, _ = strings.Cut(string(decoded), ":")
		}
		list = append(list, &runtimeapi.AuthConfig{Username: auth.Username, Password: auth.Password, IdentityToken: auth.IdentityToken, ServerAddress: server})
	}
	return list
}

// serves says whether a server's entry is for an image.
func serves(server, image string) bool {
	server = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://"), "/")
	first, _, hasPath := strings.Cut(image, "/")
	if !hasPath || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return strings.HasPrefix(server, "index.docker.io") || strings.HasPrefix(server, "docker.io") || strings.HasPrefix(server, "registry-1.docker.io")
	}
	return image == server || strings.HasPrefix(image, server+"/") || strings.HasPrefix(image, server+":")
}
