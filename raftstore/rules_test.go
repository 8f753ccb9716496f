package raftstore

import (
	"strings"
	"sync"
	"testing"

	"github.com/ctlplane/ctlplane/kv"
)

// TestRulesOfMixedReleases: the leader's entries carry rules once all members know them; a member that doesn't know those in
// use ends, and says why.
func TestRulesOfMixedReleases(t *testing.T) {
	var mu sync.Mutex
	// The older one is there from the beginning: two that know more might use it before a third joins, which it then could not.
	known := map[string]kv.Rules{"m1": 1, "m2": 2, "m3": 2, "m4": 1}
	c := newTestCluster(t, 3, func(config *Config) {
		mu.Lock()
		defer mu.Unlock()
		config.Store.Rules = known[config.Identity.Name]
	})
	applied := func(want kv.Rules) {
		t.Helper()
		for _, m := range c.members {
			m.eventually("to apply entries by the rules that all know", func() bool {
				c.leader().put("key", "value")
				return m.rules() == want
			})
		}
	}
	applied(1)
	older := c.members[0]
	older.stop()
	older.config.Store.Rules = 2
	older.start()
	applied(2)

	newcomer := NewMember{Name: "m4", PeerAddress: freeAddress(t), ClientAddress: "client-m4:2379"}
	id, err := c.leader().AddMember(testContext(t), newcomer)
	if err != nil {
		t.Fatal(err)
	}
	late := c.open(Identity{ClusterID: 1, MemberID: id, Name: "m4", PeerAddress: newcomer.PeerAddress, ClientAddress: newcomer.ClientAddress})
	select {
	case <-late.Failed():
	case <-testContext(t).Done():
		t.Fatal("a member that doesn't know the rules goes on")
	}
	if err := late.Err(); !strings.Contains(err.Error(), "give this member the release of the others") {
		t.Errorf("a member that doesn't know the rules: %v", err)
	}
	c.leader().put("key", "value")
}
