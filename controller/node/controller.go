// Package node watches over the cluster's nodes: it gives each a range of pod addresses, notices when one has
// stopped to report, keeps new pods off it, and has its pods replaced elsewhere.
package node

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/loop"
)

// Options are the node controller's own.
type Options struct {
	// ClusterCIDR is what the nodes' pod ranges are cut from; the zero value gives none out.
	ClusterCIDR netip.Prefix
	// RangeBits is the prefix length of a node's range; 0 means 24, or 64 in IPv6.
	RangeBits int
	// Grace is how long a node may be silent before it counts as unreachable; 0 means 40 s.
	Grace time.Duration
	// EvictAfter is how long pods that don't say otherwise stay on a node that isn't ready or can't be
	// reached; 0 means 5 min.
	EvictAfter time.Duration
}

func (o Options) withDefaults() Options {
	if o.RangeBits == 0 {
		o.RangeBits = 24
		if o.ClusterCIDR.Addr().Is6() {
			o.RangeBits = 64
		}
	}
	if o.Grace == 0 {
		o.Grace = 40 * time.Second
	}
	if o.EvictAfter == 0 {
		o.EvictAfter = 5 * time.Minute
	}
	return o
}

// Controller is the node controller.
//
//  1. Silence is counted on this process's clock, from when it first saw a node's last heartbeat: no clock that
//     jumps, and no pause of the masters, makes a node look dead.
//  2. No pod is evicted for its node's health while no node at all is ready: then it is rather us who are cut
//     off, and there is nowhere to go.
//  3. Two nodes never get one pod range, also not from two controllers that both think they are the only one. The API
//     server sees to it; here it costs one write a node.
type Controller struct {
	options    Options
	loop       *loop.Loop[loop.Key]
	ranges     *loop.Loop[loop.Key]
	nodes      *cached.Kind[*corev1.Node]
	leases     *cached.Kind[*coordinationv1.Lease]
	pods       *cached.Kind[*corev1.Pod]
	heartbeats *heartbeats
	assigned   *ranges // of the loop of ranges alone; nil until that knows the nodes
}

// New makes the controller over informers that aren't running yet.
func New(informers *client.Informers, objects client.Objects, options Options, common loop.Options) *Controller {
	cached.IndexPodsByNode(informers)
	c := &Controller{
		options:    options.withDefaults(),
		nodes:      cached.New[*corev1.Node](informers, objects),
		leases:     cached.New[*coordinationv1.Lease](informers, objects),
		pods:       cached.New[*corev1.Pod](informers, objects),
		heartbeats: newHeartbeats(),
	}
	c.loop = loop.New("node", informers, common, c.reconcile)
	loop.WatchSelf[*corev1.Node](c.loop)
	loop.Watch(c.loop, heartbeatOf)
	loop.Watch(c.loop, c.troubled)
	common.Workers = 1 // ranges are given out one after another anyhow
	c.ranges = loop.New("podcidr", informers, common, c.reconcileRange)
	loop.WatchSelf[*corev1.Node](c.ranges)
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx) // whichever ends, ends the other: who runs the controller has to know
	defer cancel()
	var all sync.WaitGroup
	var rangesErr error
	all.Go(func() {
		defer cancel()
		rangesErr = c.ranges.Run(ctx)
	})
	err := c.loop.Run(ctx)
	cancel()
	all.Wait()
	return errors.Join(err, rangesErr)
}

// heartbeatOf is the node whose heartbeat a lease is.
func heartbeatOf(lease *coordinationv1.Lease) []loop.Key {
	if lease.Namespace != corev1.NamespaceNodeLease {
		return nil
	}
	return []loop.Key{{Name: lease.Name}}
}

// troubled is the node of a pod if it isn't one that pods can simply stay on.
func (c *Controller) troubled(pod *corev1.Pod) []loop.Key {
	if pod.Spec.NodeName == "" {
		return nil
	}
	node, ok := c.nodes.Get("", pod.Spec.NodeName)
	if !ok || readiness(node) == corev1.ConditionTrue && len(evicting(node)) == 0 {
		return nil
	}
	return []loop.Key{{Name: node.Name}}
}
