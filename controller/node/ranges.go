package node

import (
	"fmt"
	"math/big"
	"net/netip"
)

// ranges is which nodes have which parts of the cluster's range of pod addresses. It is cut into blocks of one length, and a
// node gets one; a node that came with a range of another length takes all blocks that this touches.
//
// Invariant: users[b] counts the nodes whose ranges touch block b. All calls but the first find their answer without a
// look at the other nodes, as long as blocks are free.
type ranges struct {
	cluster netip.Prefix
	bits    int
	nodes   map[string]netip.Prefix
	users   map[netip.Prefix]int
	// last is which range a node had that has gone, until another node gets it, and whose it was the other way round: a node that
	// is registered again gets it back, for its pods run on with their addresses.
	last   map[string]netip.Prefix
	lastOf map[netip.Prefix]string
	// next is where the search for a free block begins: after the last one that was given out, so that one which was given
	// back rests before it is used again. Other nodes may still have routes to it.
	next netip.Prefix
}

func newRanges(cluster netip.Prefix, bits int) *ranges {
	cluster = cluster.Masked()
	return &ranges{
		cluster: cluster, bits: bits, nodes: map[string]netip.Prefix{}, users: map[netip.Prefix]int{},
		last: map[string]netip.Prefix{}, lastOf: map[netip.Prefix]string{},
		next: netip.PrefixFrom(cluster.Addr(), bits),
	}
}

// note keeps what range a node has; the zero value is none.
func (r *ranges) note(node string, prefix netip.Prefix) {
	before, had := r.nodes[node]
	if had && before == prefix || !had && !prefix.IsValid() {
		return
	}
	if had {
		r.count(before, -1)
		delete(r.nodes, node)
		r.forget(r.lastOf[before])
		r.last[node], r.lastOf[before] = before, node
	}
	if !prefix.IsValid() {
		return
	}
	r.nodes[node] = prefix
	r.count(prefix, 1)
	r.forget(node)
	r.forget(r.lastOf[prefix])
	if follows := after(netip.PrefixFrom(prefix.Addr(), r.bits).Masked()); r.cluster.Contains(prefix.Addr()) && r.next.Addr().Less(follows.Addr()) {
		r.rest(follows)
	}
}

// forget drops what range a node had that has gone.
func (r *ranges) forget(node string) {
	delete(r.lastOf, r.last[node])
	delete(r.last, node)
}

// count adds to the users of all blocks that a range touches.
func (r *ranges) count(prefix netip.Prefix, n int) {
	if !r.cluster.Overlaps(prefix) || r.bits < r.cluster.Bits() {
		return
	}
	first, last := prefix.Masked(), prefix
	if prefix.Bits() < r.cluster.Bits() {
		first, last = r.cluster, r.cluster
	}
	for block := netip.PrefixFrom(first.Addr(), r.bits).Masked(); last.Overlaps(block); block = after(block) {
		if r.users[block] += n; r.users[block] == 0 {
			delete(r.users, block)
		}
		if after(block).Addr().Less(block.Addr()) {
			return // the last of all addresses
		}
	}
}

// free is a block that nobody has: the one that the node had before, if it is that.
func (r *ranges) free(node string) (netip.Prefix, error) {
	if block, ok := r.last[node]; ok && block.Bits() == r.bits && r.users[block] == 0 {
		return block, nil
	}
	if r.bits < r.cluster.Bits() || r.bits > r.cluster.Addr().BitLen() {
		return netip.Prefix{}, fmt.Errorf("a node's range of /%d doesn't fit into the cluster's pod range %s", r.bits, r.cluster)
	}
	for first, block := r.next, r.next; ; {
		if r.users[block] == 0 {
			return block, nil
		}
		r.rest(after(block))
		if block = r.next; block == first {
			return netip.Prefix{}, fmt.Errorf("all ranges of /%d in the cluster's pod range %s are taken: "+
				"remove nodes, or start the masters with a larger range (--cluster-cidr) that contains this one", r.bits, r.cluster)
		}
	}
}

// rest has the search go on at a block, or at the first when that is beyond the cluster's range.
func (r *ranges) rest(block netip.Prefix) {
	if !r.cluster.Contains(block.Addr()) {
		block = netip.PrefixFrom(r.cluster.Addr(), r.bits)
	}
	r.next = block
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
