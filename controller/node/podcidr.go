package node

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/ctlplane/ctlplane/controller/loop"
)

// A node's pod range is given to it with one write, that of the node. That two nodes never have one range is the API
// server's promise: it refuses a node a range that another one has, whichever controller asks. So what is kept here may be
// late, and that of a leader which doesn't know yet that it was deposed does no harm.

// reconcileRange gives a node its pod range, or notes that a node has gone. It runs on one goroutine.
func (c *Controller) reconcileRange(ctx context.Context, key loop.Key) (time.Duration, error) {
	if !c.options.ClusterCIDR.IsValid() {
		return 0, nil
	}
	if c.assigned == nil {
		c.assigned = newRanges(c.options.ClusterCIDR, c.options.RangeBits)
		for _, node := range c.nodes.All() {
			c.assigned.note(node.Name, rangeOf(node))
		}
	}
	node, ok := c.nodes.Get("", key.Name)
	if !ok {
		c.assigned.note(key.Name, netip.Prefix{})
		return 0, nil
	}
	c.assigned.note(node.Name, rangeOf(node))
	if node.Spec.PodCIDR != "" || node.DeletionTimestamp != nil {
		return 0, nil
	}
	prefix, err := c.assigned.free(node.Name)
	if err != nil {
		c.ranges.Eventf(node, corev1.EventTypeWarning, "CIDRNotAvailable", "%v", err)
		return 0, fmt.Errorf("giving node %s a pod range: %w", node.Name, err)
	}
	changed := node.DeepCopy()
	changed.Spec.PodCIDR = prefix.String()
	changed.Spec.PodCIDRs = []string{prefix.String()}
	switch _, err = c.nodes.Update(ctx, changed); {
	case err == nil:
		c.assigned.note(node.Name, prefix)
	case apierrors.IsInvalid(err):
		c.assigned.forget(node.Name)
		c.assigned.rest(after(prefix)) // another node has it, which isn't known here yet: on with the next
	}
	return 0, ignoreGone(err)
}

// rangeOf is a node's pod range; the zero value when it has none.
func rangeOf(node *corev1.Node) netip.Prefix {
	prefix, err := netip.ParsePrefix(node.Spec.PodCIDR)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix.Masked()
}
