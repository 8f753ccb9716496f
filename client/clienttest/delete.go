package clienttest

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

// Delete removes an object. One with finalizers, and a pod on a node with a grace period, is only marked:
// the former goes with its last finalizer, the latter with a second delete of grace 0.
func (c *Cluster) Delete(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) (runtime.Object, error) {
	info, err := c.admit(ctx, "delete", r, "", namespace, name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, err := c.stored(info, namespace, name)
	if err != nil {
		return nil, err
	}
	if p := opts.Preconditions; p != nil {
		if err := matchVersion(info, old, ptr.Deref(p.UID, types.UID("")), ptr.Deref(p.ResourceVersion, "")); err != nil {
			return nil, err
		}
	}
	if len(opts.DryRun) > 0 {
		return old, nil
	}
	return c.markDeleted(info, old, opts), nil
}

// markDeleted begins a deletion and ends it when nothing holds it up; the caller holds the lock.
func (c *Cluster) markDeleted(info *resource.Info, old client.Object, opts metav1.DeleteOptions) client.Object {
	marked := old.DeepCopyObject().(client.Object)
	if finalizer := propagationFinalizer(opts); finalizer != "" && !slices.Contains(marked.GetFinalizers(), finalizer) {
		marked.SetFinalizers(append(marked.GetFinalizers(), finalizer))
	}
	grace := gracePeriod(marked, opts)
	if had := marked.GetDeletionGracePeriodSeconds(); had != nil && *had < grace {
		grace = *had // a grace period gets shorter, never longer
	}
	if had := marked.GetDeletionGracePeriodSeconds(); had == nil || *had != grace {
		end := metav1.NewTime(c.clock.Now().Add(time.Duration(grace) * time.Second)).Rfc3339Copy()
		marked.SetDeletionTimestamp(&end)
		marked.SetDeletionGracePeriodSeconds(&grace)
	}
	if ns, ok := marked.(*corev1.Namespace); ok {
		ns.Status.Phase = corev1.NamespaceTerminating
	}
	if deletionComplete(marked) {
		c.commit(info, old, nil)
		return old
	}
	return c.commitUpdate(info, old, marked, false)
}

// gracePeriod is the seconds that a pod has to end in; anything but a pod on a node has none.
func gracePeriod(obj client.Object, opts metav1.DeleteOptions) int64 {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return 0
	}
	if opts.GracePeriodSeconds != nil {
		return *opts.GracePeriodSeconds
	}
	return ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
}

func propagationFinalizer(opts metav1.DeleteOptions) string {
	switch ptr.Deref(opts.PropagationPolicy, metav1.DeletePropagationBackground) {
	case metav1.DeletePropagationForeground:
		return metav1.FinalizerDeleteDependents
	case metav1.DeletePropagationOrphan:
		return metav1.FinalizerOrphanDependents
	}
	return ""
}

// deletionComplete tells whether an object that is being deleted has nothing left to wait for.
func deletionComplete(obj client.Object) bool {
	if ns, ok := obj.(*corev1.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		return false
	}
	return obj.GetDeletionTimestamp() != nil && len(obj.GetFinalizers()) == 0 &&
		ptr.Deref(obj.GetDeletionGracePeriodSeconds(), 0) == 0
}
