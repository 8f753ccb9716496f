package deployment

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// The annotations that kubectl and the sets' own next reconciliation read.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"
)

// historyBytes bounds the list of revisions that one set has had.
const historyBytes = 2000

// own is the annotations of a deployment that don't pass on to its sets.
var own = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true,
	revisionAnnotation:                 true,
	historyAnnotation:                  true,
	desiredAnnotation:                  true,
	maxAnnotation:                      true,
	appsv1.DeprecatedRollbackTo:        true,
}

// keepRevisions gives the current set the newest revision and the deployment that of its current set.
func (c *Controller) keepRevisions(ctx context.Context, r *rollout) error {
	if r.current == nil {
		return nil
	}
	set := r.current.DeepCopy()
	changed := r.annotate(set)
	if set.Spec.MinReadySeconds != r.d.Spec.MinReadySeconds {
		set.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
		changed = true
	}
	if changed {
		updated, err := c.sets.Update(ctx, set)
		if err != nil {
			return err
		}
		r.current = updated
	}
	revision := r.current.Annotations[revisionAnnotation]
	if r.d.Annotations[revisionAnnotation] == revision {
		return nil
	}
	d := r.d.DeepCopy()
	metav1.SetMetaDataAnnotation(&d.ObjectMeta, revisionAnnotation, revision)
	updated, err := c.deployments.Update(ctx, d)
	if err != nil {
		return err
	}
	r.d = updated
	return nil
}

// annotate brings a current set's annotations up to date; it tells whether one changed.
func (r *rollout) annotate(set *appsv1.ReplicaSet) bool {
	changed := false
	for key, value := range r.d.Annotations {
		if before, ok := set.Annotations[key]; !own[key] && (!ok || before != value) {
			metav1.SetMetaDataAnnotation(&set.ObjectMeta, key, value)
			changed = true
		}
	}
	var newest int64
	for _, old := range r.old {
		newest = max(newest, revision(old))
	}
	before := set.Annotations[revisionAnnotation]
	if revision(set) > newest {
		return changed
	}
	metav1.SetMetaDataAnnotation(&set.ObjectMeta, revisionAnnotation, strconv.FormatInt(newest+1, 10))
	if before != "" {
		metav1.SetMetaDataAnnotation(&set.ObjectMeta, historyAnnotation, appendHistory(set.Annotations[historyAnnotation], before))
	}
	return true
}

// annotateSize notes for which scale of the deployment a set was sized; it tells whether that changed.
func (r *rollout) annotateSize(set *appsv1.ReplicaSet) bool {
	surge, _ := r.bounds()
	desired := strconv.Itoa(int(r.desired()))
	most := strconv.Itoa(int(r.desired() + surge))
	if set.Annotations[desiredAnnotation] == desired && set.Annotations[maxAnnotation] == most {
		return false
	}
	metav1.SetMetaDataAnnotation(&set.ObjectMeta, desiredAnnotation, desired)
	metav1.SetMetaDataAnnotation(&set.ObjectMeta, maxAnnotation, most)
	return true
}

func appendHistory(history, revision string) string {
	if history == "" {
		return revision
	}
	history += "," + revision
	for len(history) > historyBytes {
		_, history, _ = strings.Cut(history, ",")
	}
	return history
}

// revision is a set's place in the deployment's history; 0 if it has none.
func revision(set *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(set.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// forget deletes the oldest of the old sets that are more than the deployment wants to keep. A set that
// has, or may yet get, a pod stays.
func (c *Controller) forget(ctx context.Context, r *rollout) error {
	old := slices.DeleteFunc(slices.Clone(r.old), func(set *appsv1.ReplicaSet) bool { return set.DeletionTimestamp != nil })
	excess := len(old) - int(ptr.Deref(r.d.Spec.RevisionHistoryLimit, 10))
	if excess <= 0 {
		return nil
	}
	slices.SortStableFunc(old, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revision(a), revision(b)) })
	for _, set := range old[:excess] {
		if ptr.Deref(set.Spec.Replicas, 1) != 0 || set.Status.Replicas != 0 || set.Generation > set.Status.ObservedGeneration {
			continue
		}
		err := c.sets.Delete(ctx, set, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
