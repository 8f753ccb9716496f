package node

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/podstate"
)

// health is what is known of a node at one moment.
type health struct {
	now time.Time
	// silent tells that the node hasn't reported for as long as it may.
	silent bool
	// known tells that the node has been looked at long enough to act on its health.
	known bool
	// next is how long the node may stay silent yet.
	next time.Duration
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	node, ok := c.nodes.Get("", key.Name)
	if !ok {
		c.heartbeats.forget(key.Name)
		return 0, nil
	}
	h := c.healthOf(node)
	if h.silent {
		var err error
		if node, h, err = c.liveHealth(ctx, node); err != nil {
			return 0, ignoreGone(err)
		}
	}
	if h.silent {
		var err error
		if node, err = c.markUnknown(ctx, node, h.now); err != nil {
			return 0, ignoreGone(err)
		}
	}
	if taints, changed := nextTaints(node, h.now); changed {
		tainted := node.DeepCopy()
		tainted.Spec.Taints = taints
		var err error
		if node, err = c.nodes.Update(ctx, tainted); err != nil {
			return 0, ignoreGone(err)
		}
	}
	if h.silent {
		if err := c.markPods(ctx, node, h.now); err != nil {
			return 0, err
		}
	}
	again, err := c.evict(ctx, node, h)
	if h.next > 0 && (again == 0 || h.next < again) {
		again = h.next
	}
	return again, err
}

// ignoreGone is for writes to a node that may have been deleted meanwhile: its deletion is on its way.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// liveHealth looks at a node in the store, past the caches: that those show no heartbeat may only mean that they are
// late, and what follows from a silent node takes its pods from it.
func (c *Controller) liveHealth(ctx context.Context, cached *corev1.Node) (*corev1.Node, health, error) {
	node, err := c.nodes.Live(ctx, "", cached.Name)
	if err != nil {
		return nil, health{}, err
	}
	lease, err := c.leases.Live(ctx, corev1.NamespaceNodeLease, node.Name)
	if apierrors.IsNotFound(err) {
		return node, c.observed(node, nil), nil
	}
	if err != nil {
		return nil, health{}, err
	}
	return node, c.observed(node, lease), nil
}

func (c *Controller) healthOf(node *corev1.Node) health {
	lease, ok := c.leases.Get(corev1.NamespaceNodeLease, node.Name)
	if !ok {
		lease = nil
	}
	return c.observed(node, lease)
}

// observed is a node's health after a look at it and at its lease, which may be nil.
func (c *Controller) observed(node *corev1.Node, lease *coordinationv1.Lease) health {
	now := c.loop.Options().Clock.Now()
	beat := c.heartbeats.observe(node, lease, now)
	left := c.options.Grace - now.Sub(beat.changed)
	return health{
		now:    now,
		silent: left <= 0,
		known:  now.Sub(beat.first) >= c.options.Grace,
		next:   max(0, left),
	}
}

// reported is the conditions that only the node itself can know.
var reported = []corev1.NodeConditionType{
	corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure,
}

// markUnknown states that what a silent node has last reported isn't known to be so any more.
func (c *Controller) markUnknown(ctx context.Context, node *corev1.Node, now time.Time) (*corev1.Node, error) {
	if readiness(node) == corev1.ConditionUnknown {
		return node, nil
	}
	changed := node.DeepCopy()
	for _, kind := range reported {
		found := condition(changed, kind)
		if found == nil {
			if kind == corev1.NodeReady {
				changed.Status.Conditions = append(changed.Status.Conditions, corev1.NodeCondition{
					Type: kind, Status: corev1.ConditionUnknown,
					LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
					Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status."})
			}
			continue
		}
		found.Status = corev1.ConditionUnknown
		found.Reason = "NodeStatusUnknown"
		found.Message = "Kubelet stopped posting node status."
		found.LastTransitionTime = metav1.NewTime(now)
	}
	updated, err := c.nodes.UpdateStatus(ctx, changed)
	if err != nil {
		return nil, err
	}
	c.loop.Options().Logger.Warn("a node has stopped to report", "node", node.Name, "grace", c.options.Grace)
	c.loop.Eventf(node, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
	return updated, nil
}

// markPods takes the pods of a silent node out of the services that they are in.
func (c *Controller) markPods(ctx context.Context, node *corev1.Node, now time.Time) error {
	for _, pod := range c.pods.By(cached.ByNode, node.Name) {
		if podstate.Ended(pod) || !podstate.Ready(pod) {
			continue
		}
		changed := pod.DeepCopy()
		ready := podstate.Condition(changed, corev1.PodReady)
		ready.Status = corev1.ConditionFalse
		ready.Reason = "NodeNotReady"
		ready.Message = "The node has stopped to report."
		ready.LastTransitionTime = metav1.NewTime(now)
		if _, err := c.pods.UpdateStatus(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		c.loop.Eventf(pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	}
	return nil
}
