package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sort"

	"github.com/ctlplane/ctlplane/durable"
)

// lastFile holds the address that was given out last. It is no lease: its name is no address.
const lastFile = "last"

// addresses remembers which pod holds which IP, in one small file an address: its name is the IP, its
// content the pod. The file system is the only copy, so that a crash at any point loses no lease.
//
// The callers serialize: addresses has no lock.
type addresses struct {
	dir string
}

func openAddresses(dir string) (*addresses, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &addresses{dir: dir}, nil
}

// acquire gives id its address in podRange. When it has none yet, it gets the first free one after the one that was given
// out last, round and round: a freed address rests as long as it can, since others may still send to the pod that had it.
// The range's first address is the network's, the second the bridge's, the last the broadcast.
func (a *addresses) acquire(id string, podRange netip.Prefix) (netip.Addr, error) {
	taken, err := a.all()
	if err != nil {
		return netip.Addr{}, err
	}
	for ip, owner := range taken {
		if owner == id && podRange.Contains(ip) {
			return ip, nil
		}
	}
	usable := func(ip netip.Addr) bool { return podRange.Contains(ip) && podRange.Contains(ip.Next()) }
	first := gateway(podRange).Next()
	start := a.last().Next()
	if !usable(start) || start.Less(first) {
		start = first
	}
	for ip, begun := start, false; usable(first) && !(begun && ip == start); begun = true {
		if _, ok := taken[ip]; !ok {
			return ip, errors.Join(a.write(ip, id), a.remember(ip))
		}
		if ip = ip.Next(); !usable(ip) {
			ip = first
		}
	}
	return netip.Addr{}, fmt.Errorf("all addresses of the node's pod range %s are in use: delete pods, or give the cluster a larger range", podRange)
}

// last is the address that was given out last; none when that is not known.
func (a *addresses) last() netip.Addr {
	text, err := os.ReadFile(filepath.Join(a.dir, lastFile))
	if err != nil {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(string(text))
	if err != nil {
		return netip.Addr{} // a write that a crash cut short
	}
	return ip
}

// remember notes the address that was given out last. The note may be lost: what was released before a crash of the
// machine has nobody left who talks to it.
func (a *addresses) remember(ip netip.Addr) error {
	return os.WriteFile(filepath.Join(a.dir, lastFile), []byte(ip.String()), 0o600)
}

// release frees all addresses of id.
func (a *addresses) release(id string) error {
	held, err := a.of(id)
	for _, ip := range held {
		err = errors.Join(err, os.Remove(filepath.Join(a.dir, ip.String())))
	}
	return err
}

// of lists the addresses of id.
func (a *addresses) of(id string) ([]netip.Addr, error) {
	taken, err := a.all()
	var held []netip.Addr
	for ip, owner := range taken {
		if owner == id {
			held = append(held, ip)
		}
	}
	return held, err
}

// owners lists the pods that hold an address.
func (a *addresses) owners() []string {
	taken, _ := a.all()
	ids := make([]string, 0, len(taken))
	for _, id := range taken {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return ids
}

func (a *addresses) all() (map[netip.Addr]string, error) {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return nil, err
	}
	taken := make(map[netip.Addr]string, len(entries))
	for _, entry := range entries {
		ip, err := netip.ParseAddr(entry.Name())
		if err != nil {
			continue // a temporary file of a write that a crash cut short
		}
		owner, err := os.ReadFile(filepath.Join(a.dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		taken[ip] = string(owner)
	}
	return taken, nil
}

// write makes the lease appear whole or not at all, and stay.
func (a *addresses) write(ip netip.Addr, id string) error {
	return durable.Replace(filepath.Join(a.dir, ip.String()), []byte(id))
}

// gateway is the bridge's address in a pod range.
func gateway(podRange netip.Prefix) netip.Addr { return podRange.Masked().Addr().Next() }
