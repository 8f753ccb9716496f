package registry

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// defaultAccount is the service account that every namespace has, and pods that name none run as.
const defaultAccount = "default"

func podIPs(p *corev1.Pod) string {
	ips := make([]string, len(p.Status.PodIPs))
	for i, ip := range p.Status.PodIPs {
		ips[i] = ip.IP
	}
	return strings.Join(ips, ",")
}

// preparePod gives a new pod its first status and the account that it runs as.
func preparePod(obj Object) {
	pod := obj.(*corev1.Pod)
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = pod.Spec.DeprecatedServiceAccount
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
}

// podRuns tells whether a node may have containers of a pod.
func podRuns(pod *corev1.Pod) bool {
	return pod.Spec.NodeName != "" && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// podGrace is the time that a pod gets to end: none when nothing of it runs or its spec wants none, and the
// time that it has already for another deletion that doesn't say. A negative time means a second.
func podGrace(obj Object, opts *metav1.DeleteOptions) int64 {
	pod := obj.(*corev1.Pod)
	if !podRuns(pod) {
		return 0
	}
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	switch {
	case opts.GracePeriodSeconds != nil:
		grace = *opts.GracePeriodSeconds
	case pod.DeletionGracePeriodSeconds != nil:
		grace = *pod.DeletionGracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	if grace < 0 {
		return 1
	}
	return grace
}

// bind places a pod on a node.
func (r *Registry) bind(ctx context.Context, q *request, binding *corev1.Binding, dryRun bool) error {
	if err := checkBinding(q, binding); err != nil {
		return err
	}
	pre := preconditions{version: binding.ResourceVersion}
	if binding.UID != "" {
		pre.uid = &binding.UID
	}
	_, err := r.modify(ctx, q, pre, dryRun, func(old Object) (Object, error) {
		return bound(q, old.(*corev1.Pod), binding, r.now())
	})
	return err
}

func checkBinding(q *request, binding *corev1.Binding) error {
	switch {
	case binding.Name != "" && binding.Name != q.name():
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the binding (%s) is not that of the pod on the URL (%s)", binding.Name, q.name()))
	case binding.Namespace != "" && binding.Namespace != q.namespace():
		return apierrors.NewBadRequest(fmt.Sprintf("the namespace of the binding (%s) is not that of the request (%s)", binding.Namespace, q.namespace()))
	case binding.Target.Kind != "" && binding.Target.Kind != "Node":
		return apierrors.NewBadRequest(fmt.Sprintf("binding target kind %q: a pod is bound to a Node", binding.Target.Kind))
	case binding.Target.Name == "":
		return apierrors.NewBadRequest("binding target.name is empty: name the node")
	}
	return nil
}

// bound is the pod as the binding makes it.
func bound(q *request, old *corev1.Pod, binding *corev1.Binding, now metav1.Time) (Object, error) {
	refuse := func(format string, args ...any) error {
		return apierrors.NewConflict(q.kind.GroupResource(), old.Name, fmt.Errorf(format, args...))
	}
	switch {
	case old.DeletionTimestamp != nil:
		return nil, refuse("pod %s is being deleted, cannot be assigned to a host", old.Name)
	case old.Spec.NodeName != "":
		return nil, refuse("pod %s is already assigned to node %q", old.Name, old.Spec.NodeName)
	case len(old.Spec.SchedulingGates) > 0:
		return nil, refuse("pod %s has non-empty .spec.schedulingGates", old.Name)
	}
	pod := old.DeepCopy()
	pod.Spec.NodeName = binding.Target.Name
	for key, value := range binding.Annotations {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value)
	}
	for key, value := range binding.Labels {
		metav1.SetMetaDataLabel(&pod.ObjectMeta, key, value)
	}
	setScheduled(pod, now)
	return pod, nil
}

// setScheduled notes in the status that the pod has its node.
func setScheduled(pod *corev1.Pod, now metav1.Time) {
	condition := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now}
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodScheduled {
			if c.Status == corev1.ConditionTrue {
				condition.LastTransitionTime = c.LastTransitionTime
			}
			*c = condition
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, condition)
}
