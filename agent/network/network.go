// Package network gives every pod of a node an IP of its own and makes it reachable from every node.
//
// A pod is one end of a veth pair; the other end is a port of the node's bridge. The pod's address is a
// /32 with its default route through the bridge, so that all traffic of a pod, to a neighbour on the
// same node too, passes the node's IP layer: the service proxy's rules see both directions of it.
//
// Other nodes' pod ranges are routed through the node's own address where it is on the same link, and
// through a VXLAN device where it is not.
package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/agent/reconcile"
	"github.com/ctlplane/ctlplane/client"
)

// ErrNoRange says that the node has not been given its pod range yet; setting up a pod may be tried again.
var ErrNoRange = errors.New("the node has no pod range yet: the master's node controller assigns it once the node has registered")

// Config is what a Network needs.
type Config struct {
	Objects  client.Objects
	NodeName string
	// NodeIP is the address at which the other nodes reach this one.
	NodeIP netip.Addr
	// ClusterCIDR holds the pod ranges of all nodes: traffic into it keeps its source address, traffic
	// that leaves it gets the node's.
	ClusterCIDR netip.Prefix
	// Dir keeps the addresses in use over a restart of the agent.
	Dir    string
	Clock  clock.Clock // nil for the real one
	Logger *slog.Logger
}

const (
	// settle is how long changes of nodes are gathered: many come at once when a cluster starts.
	settle = 20 * time.Millisecond
	// resync is how often the routes are looked at though no node has changed: the kernel drops those through a link that
	// goes down.
	resync = time.Minute
)

// Network is a node's pod network. Its methods are safe for concurrent use.
//
//  1. An address belongs to one pod from Setup to Teardown, over any number of restarts of the agent.
//  2. Stopping the agent changes nothing in the kernel: pods keep their network. Remove takes it all away.
//  3. Whatever a half-done Setup left behind, Teardown takes away.
type Network struct {
	cfg      Config
	log      *slog.Logger
	shared   *client.Informers
	nodes    cache.SharedIndexInformer
	loop     *reconcile.Loop
	turned   chan struct{} // holds one token while Ready answers otherwise than somebody was told
	mu       sync.Mutex    // orders changes of the kernel's state and guards podRange
	podRange netip.Prefix
	leases   *addresses
	ports    *hostPorts // nil before the first use
	// flowsStay says that it was told that flows can't be forgotten.
	flowsStay bool
}

// New makes the network of a node; Run brings it up.
func New(cfg Config) (*Network, error) {
	leases, err := openAddresses(filepath.Join(cfg.Dir, "addresses"))
	if err != nil {
		return nil, err
	}
	shared := client.NewInformers(cfg.Objects)
	n := &Network{
		cfg:    cfg,
		log:    cfg.Logger,
		shared: shared,
		nodes:  client.InformerFor[*corev1.Node](shared),
		turned: make(chan struct{}, 1),
		leases: leases,
	}
	n.loop = reconcile.New(reconcile.Config{
		Name: "the pod network", Sync: n.reconcile, Settle: settle, Resync: resync, Clock: cfg.Clock, Logger: cfg.Logger,
	})
	_, err = n.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { n.loop.Mark() },
		UpdateFunc: func(any, any) { n.loop.Mark() },
		DeleteFunc: func(any) { n.loop.Mark() },
	})
	return n, err
}

// Run follows the cluster's nodes until ctx ends. What it has set up stays.
func (n *Network) Run(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		n.shared.Run(ctx)
	}()
	defer func() { <-stopped }()
	n.loop.Run(ctx)
	return nil
}

// Metrics counts how often the network was brought in step with the cluster's nodes.
func (n *Network) Metrics() prometheus.Collector { return n.loop }

// reconcile brings bridge and routes in step with the nodes as they are known now.
func (n *Network) reconcile(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var peers []peer
	for _, obj := range n.nodes.GetStore().List() {
		node := obj.(*corev1.Node)
		podRange, err := netip.ParsePrefix(node.Spec.PodCIDR)
		if err != nil {
			continue // not assigned yet
		}
		if node.Name != n.cfg.NodeName {
			if ip, ok := internalIP(node); ok {
				peers = append(peers, peer{name: node.Name, ip: ip, podRange: podRange})
			}
			continue
		}
		if err := n.bringUp(podRange); err != nil {
			return err
		}
	}
	if !n.podRange.IsValid() {
		return nil
	}
	return n.syncRoutes(peers)
}

// bringUp makes the node's side of the network for its pod range.
func (n *Network) bringUp(podRange netip.Prefix) error {
	if n.podRange == podRange {
		return nil
	}
	if err := ensureForwarding(); err != nil {
		return err
	}
	if err := ensureBridge(podRange); err != nil {
		return fmt.Errorf("bridge %s: %w", bridgeName, err)
	}
	if err := ensureMasquerade(podRange, n.cfg.ClusterCIDR); err != nil {
		return err
	}
	n.podRange = podRange
	select {
	case n.turned <- struct{}{}:
	default:
	}
	n.log.Info("pod network is up", "range", podRange, "bridge", bridgeName)
	return nil
}

// ReadyChanged tells that Ready answers otherwise than before.
func (n *Network) ReadyChanged() <-chan struct{} { return n.turned }

// Ready says why pods can't be connected yet; nil when they can.
func (n *Network) Ready(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.podRange.IsValid() {
		return ErrNoRange
	}
	return nil
}

// Leads tells whether traffic for the address gets to this node: whether it is of the node's range. While that is not known, it may.
func (n *Network) Leads(ip netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.podRange.IsValid() || n.podRange.Contains(ip)
}

// Setup gives the pod id, whose network namespace is at path, its address: the one that it had before
// when it is set up again. It answers ErrNoRange until the node's range is known.
func (n *Network) Setup(ctx context.Context, id, path string) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.podRange.IsValid() {
		return netip.Addr{}, ErrNoRange
	}
	ip, err := n.leases.acquire(id, n.podRange)
	if err != nil {
		return netip.Addr{}, err
	}
	if err := connect(id, path, ip, n.podRange); err != nil {
		return netip.Addr{}, fmt.Errorf("network of pod %s: %w", id, err)
	}
	return ip, nil
}

// Expose leads ports of the node to the pod id, which Setup has connected, until its Teardown.
func (n *Network) Expose(ctx context.Context, id string, ports []HostPort) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports == nil {
		table, err := openHostPorts()
		if err != nil {
			return err
		}
		n.ports = table
	}
	held, err := n.leases.of(id)
	if err != nil || len(held) == 0 {
		return errors.Join(err, fmt.Errorf("pod %s is not connected", id))
	}
	if err := n.ports.claim(ctx, held[0], ports); err != nil {
		return err
	}
	n.forgot(forgetPast(ports))
	return nil
}

// forgot tells, once, that the kernel does not forget flows.
func (n *Network) forgot(err error) {
	if err != nil && !n.flowsStay {
		n.flowsStay = true
		n.log.Warn("the kernel does not forget the connections of pods that are gone; it is not told again", "error", err)
	}
}

// Teardown disconnects a pod and frees its address. A pod that is not known is no error.
func (n *Network) Teardown(ctx context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := disconnect(id); err != nil {
		return fmt.Errorf("network of pod %s: %w", id, err)
	}
	return n.release(ctx, id)
}

// release frees a pod's addresses. Who gets one next gets nothing that was on its way to this pod.
func (n *Network) release(ctx context.Context, id string) error {
	held, err := n.leases.of(id)
	if err != nil {
		return err
	}
	for _, ip := range held {
		if n.ports == nil {
			n.ports, _ = openHostPorts() // without nftables there are none
		}
		if n.ports != nil {
			if err := n.ports.release(ctx, ip); err != nil {
				return err
			}
		}
		n.forgot(forgetFlows(ip))
	}
	return n.leases.release(id)
}

// Retain frees the addresses and links of all pods but those that live says are there. The agent calls
// it once at start, when it knows which pods survived.
func (n *Network) Retain(ctx context.Context, live map[string]bool) error {
	var failed []error
	for _, id := range n.leases.owners() {
		if !live[id] {
			failed = append(failed, n.Teardown(ctx, id))
		}
	}
	return errors.Join(failed...)
}

func internalIP(node *corev1.Node) (netip.Addr, bool) {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			if ip, err := netip.ParseAddr(address.Address); err == nil {
				return ip, true
			}
		}
	}
	return netip.Addr{}, false
}
