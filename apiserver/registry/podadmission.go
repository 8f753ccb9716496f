package registry

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
)

// priorityClasses are the classes that every cluster of Kubernetes has; there are no others here.
var priorityClasses = map[string]int32{
	"":                        0,
	"system-cluster-critical": 2_000_000_000,
	"system-node-critical":    2_000_001_000,
}

// admitPod lets those new pods in whose service account exists and that want nothing which nobody can give
// them, and gives them what their account and their class of priority say. Its refusals are those of Kubernetes'
// admission.
func admitPod(ctx context.Context, r *Registry, q *request, obj Object) error {
	pod := obj.(*corev1.Pod)
	if err := admitByAccount(ctx, r, q, pod); err != nil {
		return err
	}
	if err := admitPriority(q, pod); err != nil {
		return err
	}
	refuse := func(format string, args ...any) error {
		return apierrors.NewForbidden(q.kind.GroupResource(), pod.Name, fmt.Errorf("pod rejected: "+format, args...))
	}
	switch {
	case ptr.Deref(pod.Spec.RuntimeClassName, "") != "":
		return refuse("RuntimeClass %q not found", *pod.Spec.RuntimeClassName)
	case len(pod.Spec.Overhead) > 0:
		return refuse("Pod Overhead set without corresponding RuntimeClass defined Overhead")
	case !ptr.Deref(pod.Spec.HostUsers, true):
		return refuse("hostUsers is false, and nodes have no user namespaces yet: leave hostUsers out")
	}
	return nil
}

// admitByAccount looks for the account that a pod runs as. The default account need not be there yet: a namespace gets
// it a moment after it was made.
func admitByAccount(ctx context.Context, r *Registry, q *request, pod *corev1.Pod) error {
	name := pod.Spec.ServiceAccountName
	key := r.accounts.key(pod.Namespace, name)
	e := r.accounts.cache.get(key)
	if name != defaultAccount {
		var err error
		if e, err = r.read(ctx, r.accounts, key); err != nil {
			return err
		}
		if e == nil {
			return apierrors.NewForbidden(q.kind.GroupResource(), pod.Name, fmt.Errorf(
				"error looking up service account %s/%s: serviceaccount %q not found", pod.Namespace, name, name))
		}
	}
	if e != nil && len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(e.object.(*corev1.ServiceAccount).ImagePullSecrets)
	}
	return nil
}

// admitPriority gives a pod the priority of its class. A pod can't choose another.
func admitPriority(q *request, pod *corev1.Pod) error {
	refuse := func(format string, args ...any) error {
		return apierrors.NewForbidden(q.kind.GroupResource(), pod.Name, fmt.Errorf(format, args...))
	}
	priority, ok := priorityClasses[pod.Spec.PriorityClassName]
	if !ok {
		return refuse("no PriorityClass with name %s was found", pod.Spec.PriorityClassName)
	}
	if asked := ptr.Deref(pod.Spec.Priority, priority); asked != priority {
		return refuse("the integer value of priority (%d) must not be provided in pod spec; priority admission controller "+
			"computed %d from the given PriorityClass name", asked, priority)
	}
	policy := corev1.PreemptLowerPriority
	if asked := ptr.Deref(pod.Spec.PreemptionPolicy, policy); asked != policy {
		return refuse("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller "+
			"computed %s from the given PriorityClass name", asked, policy)
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &priority, &policy
	return nil
}
