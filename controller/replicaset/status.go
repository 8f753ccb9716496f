package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ctlplane/ctlplane/controller/podstate"
)

// nextStatus is what a set's status should say, and how long until a pod becomes available by the mere
// passing of time (0: none will).
func nextStatus(set *appsv1.ReplicaSet, owned []*corev1.Pod, failure error, now time.Time) (appsv1.ReplicaSetStatus, time.Duration) {
	status := *set.Status.DeepCopy()
	status.ObservedGeneration = set.Generation
	status.Replicas, status.FullyLabeledReplicas = 0, 0
	status.ReadyReplicas, status.AvailableReplicas = 0, 0
	var terminating int32
	var next time.Duration
	template := labels.SelectorFromValidatedSet(set.Spec.Template.Labels)
	for _, pod := range owned {
		if !podstate.Active(pod) {
			if pod.DeletionTimestamp != nil && !podstate.Ended(pod) {
				terminating++
			}
			continue
		}
		status.Replicas++
		if template.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		if podstate.Ready(pod) {
			status.ReadyReplicas++
		}
		available, wait := podstate.Available(pod, minReady(set), now)
		if available {
			status.AvailableReplicas++
		} else if wait > 0 && (next == 0 || wait < next) {
			next = wait
		}
	}
	status.TerminatingReplicas = &terminating
	status.Conditions = failureCondition(status.Conditions, missing(set, owned), failure, now)
	return status, next
}

// failureCondition keeps the condition ReplicaFailure while pods can't be created or deleted.
func failureCondition(conditions []appsv1.ReplicaSetCondition, missing int, failure error, now time.Time) []appsv1.ReplicaSetCondition {
	var kept []appsv1.ReplicaSetCondition
	var before *appsv1.ReplicaSetCondition
	for i, condition := range conditions {
		if condition.Type == appsv1.ReplicaSetReplicaFailure {
			before = &conditions[i]
			continue
		}
		kept = append(kept, condition)
	}
	if failure == nil {
		return kept
	}
	reason := "FailedCreate"
	if missing < 0 {
		reason = "FailedDelete"
	}
	if before != nil && before.Reason == reason {
		// The message of the first failure stays: a new one each time would wake everyone who watches.
		return append(kept, *before)
	}
	return append(kept, appsv1.ReplicaSetCondition{
		Type:               appsv1.ReplicaSetReplicaFailure,
		Status:             corev1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(now),
		Reason:             reason,
		Message:            failure.Error(),
	})
}

func sameStatus(a, b appsv1.ReplicaSetStatus) bool { return equality.Semantic.DeepEqual(a, b) }

func minReady(set *appsv1.ReplicaSet) time.Duration {
	return time.Duration(set.Spec.MinReadySeconds) * time.Second
}
