// Package serviceaccount gives every namespace what the pods in it count on: the service account default, and
// the certificate of the authority that signs the API server's.
package serviceaccount

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/loop"
)

// Names of what each namespace gets.
const (
	accountName = "default"
	rootCAName  = "kube-root-ca.crt"
	rootCAKey   = "ca.crt"
)

// Controller is the controller of service accounts.
type Controller struct {
	rootCA     string
	loop       *loop.Loop[loop.Key]
	namespaces *cached.Kind[*corev1.Namespace]
	accounts   *cached.Kind[*corev1.ServiceAccount]
	configMaps *cached.Kind[*corev1.ConfigMap]
}

// New makes the controller over informers that aren't running yet. Without rootCA, which is in PEM, it makes no
// ConfigMaps.
func New(informers *client.Informers, objects client.Objects, rootCA []byte, options loop.Options) *Controller {
	c := &Controller{
		rootCA:     string(rootCA),
		namespaces: cached.New[*corev1.Namespace](informers, objects),
		accounts:   cached.New[*corev1.ServiceAccount](informers, objects),
		configMaps: cached.New[*corev1.ConfigMap](informers, objects),
	}
	c.loop = loop.New("serviceaccount", informers, options, c.reconcile)
	loop.WatchSelf[*corev1.Namespace](c.loop)
	loop.Watch(c.loop, func(account *corev1.ServiceAccount) []loop.Key { return namespaceIf(account, accountName) })
	loop.Watch(c.loop, func(configMap *corev1.ConfigMap) []loop.Key { return namespaceIf(configMap, rootCAName) })
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// namespaceIf is the key of an object's namespace if the object has the given name.
func namespaceIf(obj client.Object, name string) []loop.Key {
	if obj.GetName() != name {
		return nil
	}
	return []loop.Key{{Name: obj.GetNamespace()}}
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	namespace, ok := c.namespaces.Get("", key.Name)
	if !ok || namespace.DeletionTimestamp != nil || namespace.Status.Phase == corev1.NamespaceTerminating {
		return 0, nil
	}
	if _, ok := c.accounts.Get(key.Name, accountName); !ok {
		_, err := c.accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: key.Name, Name: accountName}})
		if err := ignore(err); err != nil {
			return 0, fmt.Errorf("making the service account of namespace %s: %w", key.Name, err)
		}
	}
	if err := c.publishRootCA(ctx, key.Name); err != nil {
		return 0, fmt.Errorf("publishing the root certificate in namespace %s: %w", key.Name, err)
	}
	return 0, nil
}

func (c *Controller) publishRootCA(ctx context.Context, namespace string) error {
	if c.rootCA == "" {
		return nil
	}
	published, ok := c.configMaps.Get(namespace, rootCAName)
	switch {
	case !ok:
		_, err := c.configMaps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: rootCAName},
			Data:       map[string]string{rootCAKey: c.rootCA},
		})
		return ignore(err)
	case len(published.Data) == 1 && published.Data[rootCAKey] == c.rootCA:
		return nil
	}
	changed := published.DeepCopy()
	changed.Data = map[string]string{rootCAKey: c.rootCA}
	_, err := c.configMaps.Update(ctx, changed)
	return ignore(err)
}

// ignore drops the errors that need nothing done: the object is there already, or its namespace is going.
func ignore(err error) error {
	if apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}
