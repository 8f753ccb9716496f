package namespace

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

// leftovers counts what is in a namespace yet: by kind, and by the finalizers that hold it.
type leftovers struct {
	kinds, finalizers map[string]int
}

func newLeftovers() leftovers {
	return leftovers{kinds: map[string]int{}, finalizers: map[string]int{}}
}

func (l leftovers) none() bool { return len(l.kinds) == 0 }

func (l leftovers) add(info *resource.Info, obj client.Object) {
	l.kinds[info.GroupResource().String()]++
	for _, finalizer := range obj.GetFinalizers() {
		l.finalizers[finalizer]++
	}
}

// count tells in words, in a stable order, how much there is of what.
func count(counts map[string]int, format string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf(format, name, counts[name]))
	}
	return strings.Join(parts, ", ")
}

func (c *Controller) list(ctx context.Context, info *resource.Info, namespace string) ([]client.Object, error) {
	list, err := c.objects.List(ctx, info.GroupVersionResource, namespace, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var objs []client.Object
	err = meta.EachListItem(list, func(obj runtime.Object) error {
		item, ok := obj.(client.Object)
		if !ok {
			return fmt.Errorf("a list of %s holds a %T", info.Resource, obj)
		}
		objs = append(objs, item)
		return nil
	})
	return objs, err
}

// report states in the namespace's conditions what holds its deletion up.
func (c *Controller) report(ctx context.Context, namespace *corev1.Namespace, left leftovers, failure error) error {
	changed := namespace.DeepCopy()
	changed.Status.Phase = corev1.NamespaceTerminating
	now := metav1.NewTime(c.loop.Options().Clock.Now())
	set := func(kind corev1.NamespaceConditionType, holds bool, reason, message, otherwise, otherMessage string) {
		condition := corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message}
		if !holds {
			condition.Status, condition.Reason, condition.Message = corev1.ConditionFalse, otherwise, otherMessage
		}
		setCondition(&changed.Status, condition, now)
	}
	failed := ""
	if failure != nil {
		failed = "Failed to delete all resource types: " + failure.Error()
	}
	set(corev1.NamespaceDeletionContentFailure, failure != nil, "ContentDeletionFailed", failed,
		"ContentDeleted", "All content successfully deleted, may be waiting on finalization")
	set(corev1.NamespaceContentRemaining, len(left.kinds) > 0, "SomeResourcesRemain",
		"Some resources are remaining: "+count(left.kinds, "%s has %d resource instances"),
		"ContentRemoved", "All content successfully removed")
	set(corev1.NamespaceFinalizersRemaining, len(left.finalizers) > 0, "SomeFinalizersRemain",
		"Some content in the namespace has finalizers remaining: "+count(left.finalizers, "%s in %d resource instances"),
		"ContentHasNoFinalizers", "All content-preserving finalizers finished")
	if equality.Semantic.DeepEqual(changed.Status, namespace.Status) {
		return nil
	}
	_, err := c.namespaces.UpdateStatus(ctx, changed)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func setCondition(status *corev1.NamespaceStatus, condition corev1.NamespaceCondition, now metav1.Time) {
	condition.LastTransitionTime = now
	for i := range status.Conditions {
		before := &status.Conditions[i]
		if before.Type != condition.Type {
			continue
		}
		if before.Status == condition.Status {
			condition.LastTransitionTime = before.LastTransitionTime
		}
		*before = condition
		return
	}
	status.Conditions = append(status.Conditions, condition)
}
