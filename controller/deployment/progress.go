package deployment

import (
	"fmt"
	"math"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The reasons of the condition Progressing, as Kubernetes' clients know them.
const (
	reasonCreateError = "ReplicaSetCreateError"
	reasonCreated     = "NewReplicaSetCreated"
	reasonFound       = "FoundNewReplicaSet"
	reasonUpdated     = "ReplicaSetUpdated"
	reasonAvailable   = "NewReplicaSetAvailable"
	reasonTimedOut    = "ProgressDeadlineExceeded"
	reasonPaused      = "DeploymentPaused"
	reasonResumed     = "DeploymentResumed"
)

// setProgressing says whether the rollout goes on, is done, or is stuck. status has its counts already;
// those before are in the deployment's.
func (r *rollout) setProgressing(conditions *conditions, status *appsv1.DeploymentStatus, failure error) {
	const progressing = appsv1.DeploymentProgressing
	if _, ok := r.deadline(); !ok {
		conditions.remove(progressing)
		return
	}
	before := conditions.get(progressing)
	switch {
	case failure != nil && r.current == nil:
		conditions.set(progressing, corev1.ConditionFalse, reasonCreateError, fmt.Sprintf("Failed to create new replica set: %v", failure))
	case r.d.Spec.Paused:
		if before == nil || before.Reason != reasonPaused && before.Reason != reasonTimedOut {
			conditions.set(progressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
		}
	case r.created:
		conditions.renew(progressing, corev1.ConditionTrue, reasonCreated, fmt.Sprintf("Created new replica set %q", r.current.Name))
	case before != nil && before.Reason == reasonPaused:
		conditions.set(progressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed")
	case before != nil && before.Reason == reasonAvailable && status.Replicas == status.UpdatedReplicas:
		// A rollout that is done stays done, also while pods come and go.
	case r.done(status):
		conditions.set(progressing, corev1.ConditionTrue, reasonAvailable, fmt.Sprintf("%s has successfully progressed.", r.subject()))
	case r.advanced(status):
		conditions.renew(progressing, corev1.ConditionTrue, reasonUpdated, fmt.Sprintf("%s is progressing.", r.subject()))
	case r.current != nil && (before == nil || before.Reason == reasonAvailable):
		// A rollout to a set that was there already: from here on the deadline counts.
		conditions.renew(progressing, corev1.ConditionTrue, reasonFound, fmt.Sprintf("Found new replica set %q", r.current.Name))
	case r.timedOut(before, conditions.now):
		conditions.set(progressing, corev1.ConditionFalse, reasonTimedOut, fmt.Sprintf("%s has timed out progressing.", r.subject()))
	}
}

func (r *rollout) subject() string {
	if r.current == nil {
		return fmt.Sprintf("Deployment %q", r.d.Name)
	}
	return fmt.Sprintf("ReplicaSet %q", r.current.Name)
}

// done tells whether all pods are of the current template and available.
func (r *rollout) done(status *appsv1.DeploymentStatus) bool {
	return status.UpdatedReplicas == r.desired() && status.Replicas == r.desired() && status.AvailableReplicas == r.desired()
}

// advanced tells whether there are more new, fewer old, or more ready pods than there were.
func (r *rollout) advanced(status *appsv1.DeploymentStatus) bool {
	before := &r.d.Status
	return status.UpdatedReplicas > before.UpdatedReplicas ||
		status.Replicas-status.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		status.ReadyReplicas > before.ReadyReplicas ||
		status.AvailableReplicas > before.AvailableReplicas
}

// deadline is how long a rollout may stand still before it counts as failed; false if it may for ever.
func (r *rollout) deadline() (time.Duration, bool) {
	seconds := r.d.Spec.ProgressDeadlineSeconds
	if seconds == nil || *seconds == math.MaxInt32 {
		return 0, false
	}
	return time.Duration(*seconds) * time.Second, true
}

func (r *rollout) timedOut(progressing *appsv1.DeploymentCondition, now time.Time) bool {
	deadline, ok := r.deadline()
	return ok && progressing != nil && progressing.Reason != reasonAvailable &&
		!now.Before(progressing.LastUpdateTime.Add(deadline))
}

// untilDeadline is when the deployment has to be looked at though nothing happens; 0 if it need not.
func (r *rollout) untilDeadline(now time.Time) time.Duration {
	deadline, ok := r.deadline()
	conditions := conditions{list: r.d.Status.Conditions}
	progressing := conditions.get(appsv1.DeploymentProgressing)
	if !ok || r.d.Spec.Paused || r.d.DeletionTimestamp != nil || progressing == nil ||
		progressing.Reason == reasonAvailable || progressing.Reason == reasonTimedOut {
		return 0
	}
	// Time stamps are stored in whole seconds.
	return max(time.Second, progressing.LastUpdateTime.Add(deadline).Sub(now)+time.Second)
}

// conditions is a deployment's list of conditions, being changed.
type conditions struct {
	list []appsv1.DeploymentCondition
	now  time.Time
}

func (c *conditions) get(kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range c.list {
		if c.list[i].Type == kind {
			return &c.list[i]
		}
	}
	return nil
}

// set states a condition; what it states already stays as it is.
func (c *conditions) set(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	if before := c.get(kind); before == nil || before.Status != status || before.Reason != reason {
		c.renew(kind, status, reason, message)
	}
}

// renew states a condition as of now.
func (c *conditions) renew(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	condition := appsv1.DeploymentCondition{
		Type:               kind,
		Status:             status,
		Reason:             reason,
		Message:            message,
		LastUpdateTime:     metav1.NewTime(c.now),
		LastTransitionTime: metav1.NewTime(c.now),
	}
	if before := c.get(kind); before != nil {
		if before.Status == status {
			condition.LastTransitionTime = before.LastTransitionTime
		}
		*before = condition
		return
	}
	c.list = append(c.list, condition)
}

func (c *conditions) remove(kind appsv1.DeploymentConditionType) {
	var kept []appsv1.DeploymentCondition
	for _, condition := range c.list {
		if condition.Type != kind {
			kept = append(kept, condition)
		}
	}
	c.list = kept
}
