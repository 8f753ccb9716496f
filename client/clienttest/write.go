package clienttest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

var errModified = errors.New("the object has been modified; please apply your changes to the latest version and try again")

// Create stores a new object without its status (nodes keep theirs), or binds a pod with subresource "binding".
func (c *Cluster) Create(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.CreateOptions) (runtime.Object, error) {
	info, err := c.admit(ctx, "create", r, subresource, namespace, name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if subresource != "" {
		binding, ok := obj.(*corev1.Binding)
		if !ok || r.Resource != "pods" || subresource != "binding" {
			return nil, apierrors.NewMethodNotSupported(info.GroupResource(), "create "+subresource)
		}
		return c.bind(info, namespace, name, binding, len(opts.DryRun) > 0)
	}
	created, err := copyOf(info, obj)
	if err != nil {
		return nil, err
	}
	if err := c.prepareCreate(info, namespace, created); err != nil {
		return nil, err
	}
	if _, ok := c.table(info).objects[keyOf(created)]; ok {
		return nil, apierrors.NewAlreadyExists(info.GroupResource(), created.GetName())
	}
	if len(opts.DryRun) == 0 {
		c.commit(info, nil, created)
	}
	return created, nil
}

// Update replaces an object but its status, or one part of it: "status", "scale", or a namespace's "finalize".
func (c *Cluster) Update(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.UpdateOptions) (runtime.Object, error) {
	info, err := c.admit(ctx, "update", r, subresource, namespace, name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, err := c.stored(info, namespace, name)
	if err != nil {
		return nil, err
	}
	return c.replace(info, old, obj, subresource, len(opts.DryRun) > 0)
}

// replace stores the part of obj that subresource names, in place of old's; the caller holds the lock.
func (c *Cluster) replace(info *resource.Info, old client.Object, obj runtime.Object, subresource string, dryRun bool) (runtime.Object, error) {
	if subresource == "scale" {
		return c.setScale(info, old, obj, dryRun)
	}
	updated, err := copyOf(info, obj)
	if err != nil {
		return nil, err
	}
	if updated.GetName() != old.GetName() {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", updated.GetName(), old.GetName()))
	}
	if err := matchVersion(info, old, updated.GetUID(), updated.GetResourceVersion()); err != nil {
		return nil, err
	}
	switch subresource {
	case "":
		keepServerFields(updated, old)
		copyField(updated, old, "Status")
	case "status", "finalize":
		part := map[string]string{"status": "Status", "finalize": "Spec"}[subresource]
		from := updated
		updated = old.DeepCopyObject().(client.Object)
		if !copyField(updated, from, part) {
			return nil, apierrors.NewNotFound(info.GroupResource(), old.GetName()+"/"+subresource)
		}
	default:
		return nil, apierrors.NewNotFound(info.GroupResource(), old.GetName()+"/"+subresource)
	}
	if err := c.podRangeTaken(info, updated); err != nil {
		return nil, err
	}
	return c.commitUpdate(info, old, updated, dryRun), nil
}

// podRangeTaken refuses a node the range of pod addresses that another one has. The caller holds the lock.
func (c *Cluster) podRangeTaken(info *resource.Info, obj client.Object) error {
	node, ok := obj.(*corev1.Node)
	if !ok || node.Spec.PodCIDR == "" {
		return nil
	}
	for _, other := range c.table(info).objects {
		if other, ok := other.(*corev1.Node); ok && other.Name != node.Name && other.Spec.PodCIDR == node.Spec.PodCIDR {
			return apierrors.NewInvalid(info.GroupVersionKind().GroupKind(), node.Name, field.ErrorList{
				field.Invalid(field.NewPath("spec", "podCIDRs").Index(0), node.Spec.PodCIDR, "another node has this range")})
		}
	}
	return nil
}

// commitUpdate stores a changed object, or removes it when this ends its deletion. What changes
// nothing takes no version. The caller holds the lock.
func (c *Cluster) commitUpdate(info *resource.Info, old, updated client.Object, dryRun bool) client.Object {
	updated.SetResourceVersion(old.GetResourceVersion())
	if equality.Semantic.DeepEqual(old, updated) {
		return old
	}
	if !sameField(old, updated, "Spec") {
		updated.SetGeneration(old.GetGeneration() + 1)
	}
	if dryRun {
		return updated
	}
	c.commit(info, old, updated)
	if deletionComplete(updated) {
		c.commit(info, updated, nil)
	}
	return updated
}

func (c *Cluster) prepareCreate(info *resource.Info, namespace string, obj client.Object) error {
	if obj.GetResourceVersion() != "" {
		return apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if info.Namespaced {
		if namespace == "" || (obj.GetNamespace() != "" && obj.GetNamespace() != namespace) {
			return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
		}
		obj.SetNamespace(namespace)
		if c.namespaceTerminating(namespace) {
			err := apierrors.NewForbidden(info.GroupResource(), obj.GetName(), fmt.Errorf("unable to create new content in namespace %s because it is being terminated", namespace))
			err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause})
			return err
		}
	}
	if obj.GetName() == "" && obj.GetGenerateName() != "" {
		c.names++
		suffix := strconv.FormatInt(c.names, 36)
		obj.SetName(obj.GetGenerateName() + strings.Repeat("0", max(0, 5-len(suffix))) + suffix)
	}
	if obj.GetName() == "" {
		return apierrors.NewInvalid(info.GroupVersionKind().GroupKind(), "", field.ErrorList{
			field.Required(field.NewPath("metadata", "name"), "name or generateName is required")})
	}
	obj.SetUID("")
	obj.SetGeneration(0)
	obj.SetCreationTimestamp(metav1.Time{})
	obj.SetDeletionTimestamp(nil)
	if _, isNode := obj.(*corev1.Node); !isNode {
		copyField(obj, info.New(), "Status")
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		o.Status.Phase = corev1.PodPending
	case *corev1.Namespace:
		o.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
		o.Status.Phase = corev1.NamespaceActive
	}
	c.fillServerFields(obj)
	return nil
}

// fillServerFields gives an object the metadata that the server owns, where it has none.
func (c *Cluster) fillServerFields(obj client.Object) {
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if obj.GetUID() == "" {
		obj.SetUID(uuid.NewUUID())
	}
	if obj.GetCreationTimestamp().Time.IsZero() {
		obj.SetCreationTimestamp(metav1.NewTime(c.clock.Now()).Rfc3339Copy())
	}
	if obj.GetGeneration() == 0 {
		obj.SetGeneration(1)
	}
}

// keepServerFields takes from old the metadata that an update can't change.
func keepServerFields(obj, old client.Object) {
	obj.SetNamespace(old.GetNamespace())
	obj.SetUID(old.GetUID())
	obj.SetCreationTimestamp(old.GetCreationTimestamp())
	obj.SetDeletionTimestamp(old.GetDeletionTimestamp())
	obj.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	obj.SetGeneration(old.GetGeneration())
	if obj.GetDeletionTimestamp() != nil {
		// Deletion that has begun can lose finalizers but not get new ones.
		var kept []string
		for _, finalizer := range obj.GetFinalizers() {
			for _, had := range old.GetFinalizers() {
				if finalizer == had {
					kept = append(kept, finalizer)
				}
			}
		}
		obj.SetFinalizers(kept)
	}
}

// matchVersion holds a write against the UID and resource version that it was decided on, where it names them.
func matchVersion(info *resource.Info, old client.Object, uid types.UID, version string) error {
	if uid != "" && uid != old.GetUID() {
		return apierrors.NewConflict(info.GroupResource(), old.GetName(),
			fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s)", uid, old.GetUID()))
	}
	if version != "" && version != old.GetResourceVersion() {
		return apierrors.NewConflict(info.GroupResource(), old.GetName(), errModified)
	}
	return nil
}

// copyOf checks that an object is of the kind and gives a copy without type information, as decoded objects are.
func copyOf(info *resource.Info, obj runtime.Object) (client.Object, error) {
	if reflect.TypeOf(obj) != reflect.TypeOf(info.Example) {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the object is a %T, not a %s", obj, info.Kind))
	}
	typed := obj.DeepCopyObject().(client.Object)
	typed.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return typed, nil
}

// copyField copies a field of the object's struct, such as Status; false when its kind has none.
func copyField(to, from runtime.Object, name string) bool {
	target := reflect.ValueOf(to).Elem().FieldByName(name)
	if !target.IsValid() {
		return false
	}
	target.Set(reflect.ValueOf(from.DeepCopyObject()).Elem().FieldByName(name))
	return true
}

func sameField(a, b runtime.Object, name string) bool {
	one := reflect.ValueOf(a).Elem().FieldByName(name)
	if !one.IsValid() {
		return true
	}
	return equality.Semantic.DeepEqual(one.Interface(), reflect.ValueOf(b).Elem().FieldByName(name).Interface())
}
