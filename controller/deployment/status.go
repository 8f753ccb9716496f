package deployment

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// writeStatus brings the deployment's status up to date and returns when the progress deadline has to be
// looked at. failure is what kept the rollout from going on.
func (c *Controller) writeStatus(ctx context.Context, r *rollout, failure error) (time.Duration, error) {
	now := c.loop.Options().Clock.Now()
	status := r.nextStatus(failure, now)
	if !equality.Semantic.DeepEqual(r.d.Status, status) {
		changed := r.d.DeepCopy()
		changed.Status = status
		updated, err := c.deployments.UpdateStatus(ctx, changed)
		if apierrors.IsNotFound(err) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		r.d = updated
	}
	return r.untilDeadline(now), nil
}

// nextStatus is what the deployment's status should say.
func (r *rollout) nextStatus(failure error, now time.Time) appsv1.DeploymentStatus {
	status := *r.d.Status.DeepCopy()
	status.ObservedGeneration = r.d.Generation
	status.Replicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0
	var terminating int32
	for _, set := range r.all() {
		status.Replicas += set.Status.Replicas
		status.ReadyReplicas += set.Status.ReadyReplicas
		status.AvailableReplicas += set.Status.AvailableReplicas
		if set.Status.TerminatingReplicas != nil {
			terminating += *set.Status.TerminatingReplicas
		}
	}
	status.TerminatingReplicas = &terminating
	status.UnavailableReplicas = max(0, sum(sizesOf(r.all())).replicas-status.AvailableReplicas)
	status.UpdatedReplicas = 0
	if r.current != nil {
		status.UpdatedReplicas = r.current.Status.Replicas
	}
	conditions := conditions{list: status.Conditions, now: now}
	r.setAvailable(&conditions, status.AvailableReplicas)
	r.setProgressing(&conditions, &status, failure)
	r.setFailure(&conditions)
	status.Conditions = conditions.list
	return status
}

func (r *rollout) setAvailable(conditions *conditions, available int32) {
	if available >= r.minAvailable() {
		conditions.set(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.")
		return
	}
	conditions.set(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
}

// setFailure hands on that a set can't create or delete pods: the current one's failure before an old one's.
func (r *rollout) setFailure(conditions *conditions) {
	sets := r.all()
	for i := len(sets) - 1; i >= 0; i-- {
		for _, failure := range sets[i].Status.Conditions {
			if failure.Type == appsv1.ReplicaSetReplicaFailure {
				conditions.set(appsv1.DeploymentReplicaFailure, failure.Status, failure.Reason, failure.Message)
				return
			}
		}
	}
	conditions.remove(appsv1.DeploymentReplicaFailure)
}
