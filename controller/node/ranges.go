package node

import (
	"fmt"
	"math/big"
	"net/netip"
)

// assignments is which node has which pod range.
type assignments map[string]netip.Prefix

// free finds a range of the given length inside of cluster that overlaps no assigned one. It goes on from
// the last assigned one, so that a range that was given back rests before it is used again: other nodes may
// still have routes to it.
func (a assignments) free(cluster netip.Prefix, bits int) (netip.Prefix, error) {
	if bits < cluster.Bits() || bits > cluster.Addr().BitLen() {
		return netip.Prefix{}, fmt.Errorf("a node's range of /%d doesn't fit into the cluster's pod range %s", bits, cluster)
	}
	cluster = cluster.Masked()
	start := cluster.Addr()
	for _, taken := range a {
		if cluster.Contains(taken.Addr()) && start.Less(taken.Addr()) {
			start = taken.Addr()
		}
	}
	first := netip.PrefixFrom(start, bits).Masked()
	for candidate := first; ; {
		if !a.overlaps(candidate) {
			return candidate, nil
		}
		candidate = after(candidate)
		if !cluster.Contains(candidate.Addr()) {
			candidate = netip.PrefixFrom(cluster.Addr(), bits)
		}
		if candidate == first {
			return netip.Prefix{}, fmt.Errorf("all ranges of /%d in the cluster's pod range %s are taken: "+
				"remove nodes, or start the masters with a larger cluster range", bits, cluster)
		}
	}
}

func (a assignments) overlaps(prefix netip.Prefix) bool {
	for _, taken := range a {
		if taken.Overlaps(prefix) {
			return true
		}
	}
	return false
}

// after is the range of the same length that follows. After the last address comes the first.
func after(prefix netip.Prefix) netip.Prefix {
	size := new(big.Int).Lsh(big.NewInt(1), uint(prefix.Addr().BitLen()-prefix.Bits()))
	next := new(big.Int).SetBytes(prefix.Addr().AsSlice())
	next.Add(next, size)
	width := prefix.Addr().BitLen() / 8
	raw := next.Bytes()
	buf := make([]byte, width)
	if len(raw) > width {
		raw = raw[len(raw)-width:]
	}
	copy(buf[width-len(raw):], raw)
	addr, _ := netip.AddrFromSlice(buf) // of a width that an address has
	return netip.PrefixFrom(addr, prefix.Bits())
}
