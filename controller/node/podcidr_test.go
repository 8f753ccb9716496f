package node

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/looptest"
)

func TestFreeRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cluster := netip.MustParsePrefix("10.0.248.0/21") // room for 8
		taken := assignments{"foreign": netip.MustParsePrefix("192.168.0.0/24")}
		if rapid.Bool().Draw(t, "six") {
			cluster = netip.MustParsePrefix("fd00:0:0:fff8::/61")
		}
		bits := cluster.Bits() + 3
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			name := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "node"))
			if _, ok := taken[name]; ok {
				delete(taken, name)
				continue
			}
			prefix, err := taken.free(cluster, bits)
			if full := len(taken) == 9; full != (err != nil) {
				t.Fatalf("step %d: %d ranges are taken, error %v", i, len(taken), err)
			}
			if err != nil {
				continue
			}
			if !cluster.Contains(prefix.Addr()) || prefix.Bits() != bits || prefix != prefix.Masked() || taken.overlaps(prefix) {
				t.Fatalf("step %d: got %v of %v", i, prefix, taken)
			}
			taken[name] = prefix
		}
	})
}

func TestRangeThatDoesNotFit(t *testing.T) {
	if _, err := (assignments{}).free(netip.MustParsePrefix("10.0.0.0/26"), 24); err == nil {
		t.Error("a /24 was cut from a /26")
	}
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
		if err := client.For[*corev1.Node](cluster).Delete(t.Context(), "", "node-3", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		looptest.Settle(time.Minute)
		book := looptest.Get[*corev1.ConfigMap](t, cluster, rangesNamespace, rangesName)
		if len(book.Data) != 29 || book.Data["node-3"] != "" {
			t.Errorf("%d ranges in the book, want 29 without node-3's", len(book.Data))
		}
	})
}
