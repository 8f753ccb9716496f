package pods

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/lru"

	"github.com/ctlplane/ctlplane/client"
)

const (
	rememberedObjects = 4096
	objectTimeout     = 10 * time.Second
)

// objects reads what pods refer to. While the masters are away it gives what was read last, so that a
// container which ends meanwhile can be started again.
type objects struct {
	configMaps client.Typed[*corev1.ConfigMap]
	secrets    client.Typed[*corev1.Secret]
	remembered *lru.Cache // objectKey → object
}

type objectKey struct{ kind, namespace, name string }

func newObjects(o client.Objects) *objects {
	return &objects{
		configMaps: client.For[*corev1.ConfigMap](o),
		secrets:    client.For[*corev1.Secret](o),
		remembered: lru.New(rememberedObjects),
	}
}

// ConfigMap reads a ConfigMap.
func (o *objects) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return read(ctx, o, objectKey{"ConfigMap", namespace, name}, o.configMaps.Get)
}

// Secret reads a Secret.
func (o *objects) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return read(ctx, o, objectKey{"Secret", namespace, name}, o.secrets.Get)
}

func read[T client.Object](ctx context.Context, o *objects, key objectKey, get func(context.Context, string, string) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	object, err := get(ctx, key.namespace, key.name)
	switch {
	case err == nil:
		o.remembered.Add(key, object)
	case apierrors.IsNotFound(err) || apierrors.IsForbidden(err):
		o.remembered.Remove(key)
	default:
		if last, ok := o.remembered.Get(key); ok {
			return last.(T), nil
		}
	}
	return object, err
}
