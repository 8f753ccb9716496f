package node

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/looptest"
)

func TestFreeRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cluster := netip.MustParsePrefix("10.0.248.0/21") // room for 8
		if rapid.Bool().Draw(t, "six") {
			cluster = netip.MustParsePrefix("fd00:0:0:fff8::/61")
		} else if rapid.Bool().Draw(t, "last") {
			cluster = netip.MustParsePrefix("255.255.248.0/21")
		}
		bits := cluster.Bits() + 3
		r, taken := newRanges(cluster, bits), map[string]netip.Prefix{}
		r.note("foreign", netip.MustParsePrefix("192.168.0.0/24"))
		overlaps := func(prefix netip.Prefix) bool {
			for _, other := range taken {
				if other.Overlaps(prefix) {
					return true
				}
			}
			return false
		}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			name := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "node"))
			if _, ok := taken[name]; ok {
				delete(taken, name)
				r.note(name, netip.Prefix{})
				continue
			}
			prefix, err := r.free("new")
			full := true
			for block, n := netip.PrefixFrom(cluster.Addr(), bits), 0; n < 8; block, n = after(block), n+1 {
				full = full && overlaps(block)
			}
			if full != (err != nil) {
				t.Fatalf("step %d: %v are taken, error %v", i, taken, err)
			}
			if err != nil {
				continue
			}
			if !cluster.Contains(prefix.Addr()) || prefix.Bits() != bits || prefix != prefix.Masked() || overlaps(prefix) {
				t.Fatalf("step %d: got %v of %v", i, prefix, taken)
			}
			// Some nodes bring a range of their own, larger or smaller than a block.
			if own := rapid.IntRange(-2, 8).Draw(t, "length"); own < 3 {
				prefix = netip.PrefixFrom(prefix.Addr(), bits+own-1).Masked()
			}
			taken[name] = prefix
			r.note(name, prefix)
		}
	})
}

func TestRangeThatDoesNotFit(t *testing.T) {
	if _, err := newRanges(netip.MustParsePrefix("10.0.0.0/26"), 24).free("n"); err == nil {
		t.Error("a /24 was cut from a /26")
	}
}

func TestFreedRangeRests(t *testing.T) {
	r := newRanges(netip.MustParsePrefix("10.0.0.0/22"), 24)
	give := func(node string) string {
		prefix, err := r.free("new")
		if err != nil {
			t.Fatal(err)
		}
		r.note(node, prefix)
		return prefix.String()
	}
	give("a")
	give("b")
	r.note("b", netip.Prefix{})
	if got := give("c"); got != "10.0.2.0/24" {
		t.Errorf("b's range, or another than the next, was given to c: %s", got)
	}
	give("d")
	if got := give("e"); got != "10.0.1.0/24" {
		t.Errorf("after the last range came %s, want b's", got)
	}
}

// TestFiveThousandNodesFitInASlash12 gives as many nodes their ranges, each with room for the 110 pods that a node runs.
// TestNodeThatIsRegisteredAgainGetsItsRangeBack: its pods run on, and have their addresses from it.
func TestNodeThatIsRegisteredAgainGetsItsRangeBack(t *testing.T) {
	r := newRanges(netip.MustParsePrefix("10.0.0.0/16"), 24)
	give := func(node string) netip.Prefix {
		t.Helper()
		prefix, err := r.free(node)
		if err != nil {
			t.Fatal(err)
		}
		r.note(node, prefix)
		return prefix
	}
	first := give("a")
	give("b")
	r.note("a", netip.Prefix{})
	if got := give("c"); got == first {
		t.Errorf("a range that was given back did not rest: c has %s", got)
	}
	if got := give("a"); got != first {
		t.Errorf("a is registered again and has %s, it had %s", got, first)
	}
	r.note("a", netip.Prefix{})
	r.note("d", first) // which came with it
	if got := give("a"); got == first {
		t.Errorf("a has %s, which is d's", got)
	}
	if len(r.last) > 0 || len(r.lastOf) > 0 {
		t.Errorf("remembered for nobody: %v %v", r.last, r.lastOf)
	}
}

func TestFiveThousandNodesFitInASlash12(t *testing.T) {
	r := newRanges(netip.MustParsePrefix("10.48.0.0/12"), 25)
	seen := map[netip.Prefix]bool{}
	for i := range 5000 {
		prefix, err := r.free("new")
		if err != nil {
			t.Fatalf("after %d nodes: %v", i, err)
		}
		if seen[prefix] || 1<<(32-prefix.Bits())-3 < 110 {
			t.Fatalf("node %d got %s", i, prefix)
		}
		seen[prefix] = true
		r.note(fmt.Sprint(i), prefix)
	}
}

// TestJoinIsOneSmallWrite counts what it costs to give nodes their ranges.
func TestJoinIsOneSmallWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		var writes, others atomic.Int32
		cluster.OnRequest(func(verb, resource, _, _ string) error {
			switch {
			case verb == "get" || verb == "list" || verb == "watch" || verb == "create" && (resource == "nodes" || resource == "leases"):
			case verb == "update" && resource == "nodes":
				writes.Add(1)
			default:
				others.Add(1)
			}
			return nil
		})
		start(t, cluster)
		for i := range 200 {
			addNode(t, cluster, fmt.Sprintf("node-%d", i))
		}
		looptest.Settle(time.Second)
		for _, node := range looptest.List[*corev1.Node](t, cluster, "") {
			if node.Spec.PodCIDR == "" {
				t.Errorf("%s has no range", node.Name)
			}
		}
		if writes.Load() != 200 || others.Load() != 0 {
			t.Errorf("200 nodes took %d writes of nodes and %d others, want one each", writes.Load(), others.Load())
		}
	})
}

// Two controllers on late caches, as around a change of the leader, give each node one range and none twice.
func TestRangesAreUniqueAcrossControllers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		for seed := range uint64(2) {
			start(t, &looptest.Stale{Objects: cluster, Delay: looptest.RandomDelay(seed, 2*time.Second)})
		}
		for i := range 30 {
			looptest.Create(t, cluster, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)}})
			if i%10 == 5 {
				looptest.Settle(time.Second)
			}
		}
		looptest.Settle(10 * time.Minute)
		holders := map[string]string{}
		for _, node := range looptest.List[*corev1.Node](t, cluster, "") {
			if node.Spec.PodCIDR == "" || holders[node.Spec.PodCIDR] != "" {
				t.Errorf("%s has range %q, as has %q", node.Name, node.Spec.PodCIDR, holders[node.Spec.PodCIDR])
			}
			holders[node.Spec.PodCIDR] = node.Name
		}
	})
}
