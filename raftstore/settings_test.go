package raftstore

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
)

// TestMastersSettleOnOneSetOfSettings has all masters begin the cluster with settings of their own, at once.
func TestMastersSettleOnOneSetOfSettings(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	ctx := testContext(t)
	if _, ok, err := c.leader().Settings(ctx); err != nil || ok {
		t.Fatalf("a new cluster has settings: %v", err)
	}
	settled := make([]Settings, len(c.members))
	var all sync.WaitGroup
	for i, m := range c.members {
		all.Go(func() {
			own := Settings{ClusterCIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16), NodeRangeBits: 24 + i%2}
			var err error
			settled[i], err = m.Settle(ctx, func(kept Settings, ok bool) (Settings, error) {
				if ok {
					return kept, nil
				}
				return own, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i, m := range c.members {
		kept, ok, err := m.Settings(ctx)
		if err != nil || !ok || kept != settled[0] || settled[i] != kept {
			t.Errorf("member %d has settled on %+v and reads %+v, the first on %+v: %v", i, settled[i], kept, settled[0], err)
		}
	}
	refuse := errors.New("not these")
	if _, err := c.leader().Settle(ctx, func(Settings, bool) (Settings, error) { return Settings{}, refuse }); !errors.Is(err, refuse) {
		t.Errorf("got %v", err)
	}
	if kept, _, _ := c.leader().Settings(ctx); kept != settled[0] {
		t.Errorf("a refusal changed the settings to %+v", kept)
	}
}
