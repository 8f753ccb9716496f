package node

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/controller/loop"
)

// Where the nodes' pod ranges are written down: node name → range. Every range is first claimed here, in one object
// that is only replaced at the version that it was read at, and then given to its node. So two controllers
// can't give one range to two nodes, not even the one of a leader that doesn't know yet that it was deposed.
const (
	rangesNamespace = metav1.NamespaceSystem
	rangesName      = "pod-cidrs"
)

// reconcileRange gives a node its pod range, or takes back that of a node that has gone.
func (c *Controller) reconcileRange(ctx context.Context, key loop.Key) (time.Duration, error) {
	if !c.options.ClusterCIDR.IsValid() {
		return 0, nil
	}
	node, ok := c.nodes.Get("", key.Name)
	switch {
	case !ok:
		return 0, c.release(ctx, key.Name)
	case node.Spec.PodCIDR != "" || node.DeletionTimestamp != nil:
		return 0, nil
	}
	prefix, err := c.claim(ctx, node)
	if err != nil {
		return 0, err
	}
	changed := node.DeepCopy()
	changed.Spec.PodCIDR = prefix.String()
	changed.Spec.PodCIDRs = []string{prefix.String()}
	_, err = c.nodes.Update(ctx, changed)
	return 0, ignoreGone(err)
}

// claim finds the node's range in the book, or writes a free one into it.
func (c *Controller) claim(ctx context.Context, node *corev1.Node) (netip.Prefix, error) {
	book, _ := c.configMaps.Get(rangesNamespace, rangesName)
	taken := c.assigned(book)
	if prefix, ok := taken[node.Name]; ok && c.options.ClusterCIDR.Overlaps(prefix) {
		return prefix, nil
	}
	prefix, err := taken.free(c.options.ClusterCIDR, c.options.RangeBits)
	if err != nil {
		c.ranges.Eventf(node, corev1.EventTypeWarning, "CIDRNotAvailable", "%v", err)
		return netip.Prefix{}, fmt.Errorf("giving node %s a pod range: %w", node.Name, err)
	}
	taken[node.Name] = prefix
	if err := c.writeBook(ctx, book, taken); err != nil {
		return netip.Prefix{}, err
	}
	return prefix, nil
}

// assigned is the ranges in the book, and those that nodes have though they aren't in it: it may be lost,
// and a node may have come with a range of its own.
func (c *Controller) assigned(book *corev1.ConfigMap) assignments {
	taken := assignments{}
	if book != nil {
		for name, text := range book.Data {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				taken[name] = prefix
			}
		}
	}
	for _, node := range c.nodes.All() {
		if prefix, err := netip.ParsePrefix(node.Spec.PodCIDR); err == nil {
			taken[node.Name] = prefix
		}
	}
	return taken
}

// release strikes a node that has gone from the book. The node is looked for in the store: that the cache
// doesn't have it may only mean that the cache is late.
func (c *Controller) release(ctx context.Context, name string) error {
	book, ok := c.configMaps.Get(rangesNamespace, rangesName)
	if !ok || book.Data[name] == "" {
		return nil
	}
	if _, err := c.nodes.Live(ctx, "", name); !apierrors.IsNotFound(err) {
		return err
	}
	taken := c.assigned(book)
	delete(taken, name)
	return c.writeBook(ctx, book, taken)
}

func (c *Controller) writeBook(ctx context.Context, book *corev1.ConfigMap, taken assignments) error {
	data := make(map[string]string, len(taken))
	for name, prefix := range taken {
		data[name] = prefix.String()
	}
	if book == nil {
		_, err := c.configMaps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: rangesNamespace, Name: rangesName},
			Data:       data,
		})
		return err
	}
	changed := book.DeepCopy()
	changed.Data = data
	_, err := c.configMaps.Update(ctx, changed)
	return err
}
