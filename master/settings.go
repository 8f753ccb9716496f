package master

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/raftstore"
)

// maxNodeRangeBits is the smallest range that has room for the 110 pods that a node runs.
const maxNodeRangeBits = 25

// What a new cluster has unless it is told otherwise: room for 8192 nodes of 125 pods' addresses each.
var (
	defaultClusterCIDR   = netip.MustParsePrefix("10.48.0.0/12")
	defaultServiceCIDR   = netip.MustParsePrefix("10.43.0.0/16")
	defaultNodeRangeBits = maxNodeRangeBits
)

// Clusters that began before settings were kept had these.
var (
	firstClusterCIDR   = netip.MustParsePrefix("10.42.0.0/16")
	firstNodeRangeBits = 24
)

// nodesPrefix is where the registry keeps nodes.
const nodesPrefix = "/registry/core/nodes/"

// settleAgain is the pause after the store could not be asked for the settings.
const settleAgain = 100 * time.Millisecond

// settlement is what the masters have agreed on; it is there once done is closed.
type settlement struct {
	done     chan struct{}
	settings raftstore.Settings
}

// errSettings says that this master was started with other settings than its cluster has.
var errSettings = errors.New("this master's settings are not its cluster's")

// errFlags says that no cluster can have what this master was told.
var errFlags = errors.New("this master's flags can't be used")

// settleQuietly is how long the store may be away, since a leader is elected, before it is told.
const settleQuietly = 15 * time.Second

// settle waits for the store and agrees with the other masters on what holds for all of them.
func (m *Master) settle(ctx context.Context) error {
	told := time.Now().Add(settleQuietly)
	for {
		settled, err := m.trySettle(ctx)
		if err == nil {
			m.settled.settings = settled
			close(m.settled.done)
			return nil
		}
		if errors.Is(err, errSettings) || errors.Is(err, errFlags) {
			return err
		}
		if now := time.Now(); now.After(told) && ctx.Err() == nil {
			m.cfg.Logger.Warn("the cluster's settings can't be read yet; nodes can't join until then", "err", err)
			told = now.Add(time.Hour)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settleAgain): // no leader yet
		}
	}
}

func (m *Master) trySettle(ctx context.Context) (raftstore.Settings, error) {
	nodes, err := m.cluster.Member.Range(ctx, &pb.RangeRequest{
		Key: []byte(nodesPrefix), RangeEnd: []byte("/registry/core/nodes0"), Limit: 1, KeysOnly: true,
	})
	if err != nil {
		return raftstore.Settings{}, err
	}
	return m.cluster.Member.Settle(ctx, func(kept raftstore.Settings, ok bool) (raftstore.Settings, error) {
		if !ok {
			return m.cfg.begin(len(nodes.Kvs) > 0)
		}
		return m.cfg.goOn(kept)
	})
}

// begin are the settings of a cluster that has none yet. One that has nodes is older than that.
func (c *Config) begin(hasNodes bool) (raftstore.Settings, error) {
	s := raftstore.Settings{ClusterCIDR: c.ClusterCIDR, ServiceCIDR: c.ServiceCIDR, NodeRangeBits: c.NodeRangeBits}
	cidr, bits := defaultClusterCIDR, defaultNodeRangeBits
	if hasNodes {
		cidr, bits = firstClusterCIDR, firstNodeRangeBits
	}
	if !s.ClusterCIDR.IsValid() {
		s.ClusterCIDR = cidr
	}
	if s.NodeRangeBits == 0 {
		s.NodeRangeBits = max(bits, s.ClusterCIDR.Bits())
	}
	return s, checkSettings(s)
}

// goOn are the settings of a cluster that has some. Only a larger range for pods may take the place of what is kept: nodes
// keep theirs, and new ones get one of the added part.
func (c *Config) goOn(kept raftstore.Settings) (raftstore.Settings, error) {
	next := kept
	if c.ClusterCIDR.IsValid() && c.ClusterCIDR != kept.ClusterCIDR {
		if c.ClusterCIDR.Bits() >= kept.ClusterCIDR.Bits() || !c.ClusterCIDR.Contains(kept.ClusterCIDR.Addr()) {
			return next, fmt.Errorf("%w: the cluster's pods have addresses of %s, not of %s: start the master without --cluster-cidr, or with a range that contains %s",
				errSettings, kept.ClusterCIDR, c.ClusterCIDR, kept.ClusterCIDR)
		}
		next.ClusterCIDR = c.ClusterCIDR
	}
	if c.ServiceCIDR != kept.ServiceCIDR {
		return next, fmt.Errorf("%w: the cluster's services have addresses of %s, not of %s: start the master with --service-cidr %s",
			errSettings, kept.ServiceCIDR, c.ServiceCIDR, kept.ServiceCIDR)
	}
	if c.NodeRangeBits != 0 && c.NodeRangeBits != kept.NodeRangeBits {
		return next, fmt.Errorf("%w: each of the cluster's nodes has a /%d of pod addresses, not a /%d: start the master without --node-cidr-mask-size",
			errSettings, kept.NodeRangeBits, c.NodeRangeBits)
	}
	return next, checkSettings(next)
}

// checkSettings refuses what no cluster can have.
func checkSettings(s raftstore.Settings) error {
	switch {
	case s.ClusterCIDR.Overlaps(s.ServiceCIDR):
		return fmt.Errorf("%w: the cluster CIDR %s and the service CIDR %s overlap: pods and services need addresses of their own: choose others with --cluster-cidr and --service-cidr",
			errFlags, s.ClusterCIDR, s.ServiceCIDR)
	case s.NodeRangeBits > maxNodeRangeBits:
		return fmt.Errorf("%w: a node's part of %s would be a /%d, which has no room for the 110 pods that a node runs: give each node a /%d or larger with --node-cidr-mask-size, and a --cluster-cidr that holds it",
			errFlags, s.ClusterCIDR, s.NodeRangeBits, maxNodeRangeBits)
	case s.NodeRangeBits < s.ClusterCIDR.Bits():
		return fmt.Errorf("%w: a node's range of /%d does not fit into the cluster's, %s: give a --node-cidr-mask-size from %d to %d, or a larger --cluster-cidr",
			errFlags, s.NodeRangeBits, s.ClusterCIDR, s.ClusterCIDR.Bits(), maxNodeRangeBits)
	}
	return nil
}
