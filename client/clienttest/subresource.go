package clienttest

import (
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

// bind sets a pod's node, once; the caller holds the lock.
func (c *Cluster) bind(info *resource.Info, namespace, name string, binding *corev1.Binding, dryRun bool) (runtime.Object, error) {
	old, err := c.stored(info, namespace, name)
	if err != nil {
		return nil, err
	}
	if err := matchVersion(info, old, binding.UID, binding.ResourceVersion); err != nil {
		return nil, err
	}
	if binding.Target.Name == "" {
		return nil, apierrors.NewBadRequest("target.name is required")
	}
	pod := old.DeepCopyObject().(*corev1.Pod)
	if pod.DeletionTimestamp != nil {
		return nil, apierrors.NewConflict(info.GroupResource(), name, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", name))
	}
	if pod.Spec.NodeName != "" {
		return nil, apierrors.NewConflict(info.GroupResource(), name, fmt.Errorf("pod %s is already assigned to node %q", name, pod.Spec.NodeName))
	}
	pod.Spec.NodeName = binding.Target.Name
	for k, v := range binding.Annotations {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, k, v)
	}
	setScheduled(&pod.Status, metav1.NewTime(c.clock.Now()).Rfc3339Copy())
	c.commitUpdate(info, old, pod, dryRun)
	return &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, nil
}

// setScheduled makes the condition PodScheduled true.
func setScheduled(status *corev1.PodStatus, now metav1.Time) {
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now}
	for i := range status.Conditions {
		if status.Conditions[i].Type == corev1.PodScheduled {
			status.Conditions[i] = scheduled
			return
		}
	}
	status.Conditions = append(status.Conditions, scheduled)
}

var errNotScalable = errors.New("the kind has no scale subresource")

// scaleOf gives an object's scale subresource.
func scaleOf(obj client.Object) (*autoscalingv1.Scale, error) {
	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{
		Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
		ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
	}}
	var selector *metav1.LabelSelector
	switch o := obj.(type) {
	case *appsv1.Deployment:
		scale.Spec.Replicas, scale.Status.Replicas, selector = ptr.Deref(o.Spec.Replicas, 1), o.Status.Replicas, o.Spec.Selector
	case *appsv1.ReplicaSet:
		scale.Spec.Replicas, scale.Status.Replicas, selector = ptr.Deref(o.Spec.Replicas, 1), o.Status.Replicas, o.Spec.Selector
	default:
		return nil, errNotScalable
	}
	scale.Status.Selector = metav1.FormatLabelSelector(selector)
	return scale, nil
}

// setScale changes the number of replicas and nothing else; the caller holds the lock.
func (c *Cluster) setScale(info *resource.Info, old client.Object, obj runtime.Object, dryRun bool) (runtime.Object, error) {
	scale, ok := obj.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, got a %T", obj))
	}
	if err := matchVersion(info, old, scale.UID, scale.ResourceVersion); err != nil {
		return nil, err
	}
	updated := old.DeepCopyObject().(client.Object)
	switch o := updated.(type) {
	case *appsv1.Deployment:
		o.Spec.Replicas = ptr.To(scale.Spec.Replicas)
	case *appsv1.ReplicaSet:
		o.Spec.Replicas = ptr.To(scale.Spec.Replicas)
	default:
		return nil, apierrors.NewNotFound(info.GroupResource(), old.GetName()+"/scale")
	}
	return scaleOf(c.commitUpdate(info, old, updated, dryRun))
}
