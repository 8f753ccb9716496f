package node

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/podstate"
)

// evict deletes the pods whose time on a tainted node is over, and returns when the next one's is. It removes none: a node that
// is silent may still run them, so they are on their way out until it says that they have ended, or the pod garbage controller
// learns that they have.
func (c *Controller) evict(ctx context.Context, node *corev1.Node, h health) (time.Duration, error) {
	taints := evicting(node)
	if len(taints) == 0 {
		return 0, nil
	}
	unreachable := readiness(node) == corev1.ConditionUnknown
	held := !h.known || unreachable && !h.silent || !c.anyReady()
	if held {
		taints = withoutHealth(taints)
	}
	var next time.Duration
	for _, pod := range c.pods.By(cached.ByNode, node.Name) {
		if !podstate.Active(pod) {
			continue
		}
		wait, err := c.evictPod(ctx, node, pod, taints, h.now)
		if err != nil {
			return 0, err
		}
		if wait > 0 && (next == 0 || wait < next) {
			next = wait
		}
	}
	if wait := c.options.Grace / 4; held && (next == 0 || wait < next) {
		next = wait // nothing tells when the others are back
	}
	return next, nil
}

// evictPod deletes a pod whose time is over, or returns how much it has left (0: for ever).
func (c *Controller) evictPod(ctx context.Context, node *corev1.Node, pod *corev1.Pod, taints []corev1.Taint, now time.Time) (time.Duration, error) {
	end, ends := endOfStay(pod, taints, c.options.EvictAfter, now)
	switch {
	case !ends:
		return 0, nil
	case end.After(now):
		return end.Sub(now), nil
	}
	if err := c.pods.Delete(ctx, pod, metav1.DeleteOptions{}); err != nil {
		return 0, ignoreGone(err)
	}
	c.loop.Options().Logger.Info("evicted a pod", "pod", klog.KObj(pod).String(), "node", node.Name)
	c.loop.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	return 0, nil
}

// endOfStay is when a pod has to leave a node with the given taints; false if it may stay.
func endOfStay(pod *corev1.Pod, taints []corev1.Taint, evictAfter time.Duration, now time.Time) (end time.Time, ends bool) {
	for i := range taints {
		stay, bounded := tolerated(pod, &taints[i], evictAfter)
		if !bounded {
			continue
		}
		since := now
		if added := taints[i].TimeAdded; added != nil {
			since = added.Time
		}
		if leaves := since.Add(stay); !ends || leaves.Before(end) {
			end, ends = leaves, true
		}
	}
	return end, ends
}

// tolerated is how long a pod stays in spite of a taint; not bounded if for ever. The shortest of several
// tolerations counts.
func tolerated(pod *corev1.Pod, taint *corev1.Taint, evictAfter time.Duration) (stay time.Duration, bounded bool) {
	tolerates := false
	for i := range pod.Spec.Tolerations {
		toleration := &pod.Spec.Tolerations[i]
		if !toleration.ToleratesTaint(klog.Background(), taint, false) {
			continue
		}
		tolerates = true
		if seconds := toleration.TolerationSeconds; seconds != nil {
			allowed := time.Duration(max(0, *seconds)) * time.Second
			if !bounded || allowed < stay {
				stay, bounded = allowed, true
			}
		}
	}
	switch {
	case tolerates:
		return stay, bounded
	case ofHealth(taint):
		return evictAfter, true
	default:
		return 0, true
	}
}

// ofHealth tells whether a taint says that its node can't run pods, rather than that it shouldn't.
func ofHealth(taint *corev1.Taint) bool {
	return taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable
}

func withoutHealth(taints []corev1.Taint) []corev1.Taint {
	var rest []corev1.Taint
	for i := range taints {
		if !ofHealth(&taints[i]) {
			rest = append(rest, taints[i])
		}
	}
	return rest
}

// anyReady tells whether there is a node that could take pods over.
func (c *Controller) anyReady() bool {
	for _, node := range c.nodes.All() {
		if readiness(node) == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
