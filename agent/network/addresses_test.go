package network

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAddressesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	podRange := netip.MustParsePrefix("10.42.7.0/24")
	first, err := openAddresses(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, err := first.acquire("a", podRange)
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.MustParseAddr("10.42.7.2"); a != want {
		t.Errorf("first address %s, want %s", a, want)
	}
	// A write that a crash cut short leaves a file that is no lease.
	if err := os.WriteFile(filepath.Join(dir, "new-10.42.7.3"), []byte("b"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := openAddresses(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := second.acquire("a", podRange); err != nil || again != a {
		t.Errorf("after the restart a got %s, %v; want its own %s", again, err, a)
	}
	if b, err := second.acquire("b", podRange); err != nil || b == a {
		t.Errorf("b got %s, %v; want an address that a does not hold", b, err)
	}
	if err := second.release("a"); err != nil {
		t.Fatal(err)
	}
	if c, err := second.acquire("c", podRange); err != nil || c == a {
		t.Errorf("c got %s, %v; want another than %s, which was freed just now", c, err, a)
	}
}

// TestFreedAddressRests frees each address at once, over restarts: it comes again when all others had their turn.
func TestFreedAddressRests(t *testing.T) {
	dir := t.TempDir()
	podRange := netip.MustParsePrefix("10.42.7.0/28") // 13 addresses for pods
	var given []netip.Addr
	for i := range 40 {
		leases, err := openAddresses(dir)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprint("pod-", i)
		ip, err := leases.acquire(id, podRange)
		if err != nil {
			t.Fatal(err)
		}
		if recent := given[max(0, len(given)-12):]; slices.Contains(recent, ip) || !podRange.Contains(ip) {
			t.Errorf("pod %d got %s after %v", i, ip, recent)
		}
		given = append(given, ip)
		if err := leases.release(id); err != nil {
			t.Fatal(err)
		}
	}
	leases, err := openAddresses(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"10.42.8.0/24", "10.42.6.0/24"} { // a node may get another range
		if ip, err := leases.acquire("moved "+other, netip.MustParsePrefix(other)); err != nil || !netip.MustParsePrefix(other).Contains(ip) {
			t.Errorf("in range %s the address is %s, %v", other, ip, err)
		}
	}
}

func TestFullRangeSaysSo(t *testing.T) {
	leases, err := openAddresses(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	podRange := netip.MustParsePrefix("10.42.7.0/29") // .0 network, .1 bridge, .7 broadcast
	seen := map[netip.Addr]bool{}
	for i := range 5 {
		ip, err := leases.acquire(fmt.Sprint("pod-", i), podRange)
		if err != nil {
			t.Fatal(err)
		}
		if seen[ip] || !podRange.Contains(ip) {
			t.Errorf("address %s is taken or outside %s", ip, podRange)
		}
		seen[ip] = true
	}
	if _, err := leases.acquire("one-more", podRange); err == nil || !strings.Contains(err.Error(), "10.42.7.0/29") {
		t.Errorf("a full range answered %v, want an error that names it", err)
	}
}
