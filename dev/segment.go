package dev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// segment is the cluster's own piece of network on this machine: a bridge that the masters' addresses are
// on, and a network namespace for each node with a cable to the bridge.
type segment struct {
	Bridge string       `json:"bridge"`
	Range  netip.Prefix `json:"range"`
	Nodes  []string     `json:"nodes"` // the namespaces' names
}

const maxSegments = 16

// findSegment finds the first bridge name and address range that nothing on this machine uses.
func findSegment() (*segment, error) {
	used, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for i := range maxSegments {
		s := &segment{
			Bridge: fmt.Sprintf("ctldev%d", i),
			Range:  netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 30, byte(77 + i), 0}), 24),
		}
		if _, err := net.InterfaceByName(s.Bridge); err == nil || s.collides(used) {
			continue
		}
		return s, nil
	}
	return nil, fmt.Errorf("all %d address ranges from 172.30.77.0/24 on are in use on this machine", maxSegments)
}

func (s *segment) collides(used []net.Addr) bool {
	for _, address := range used {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil && s.Range.Overlaps(prefix.Masked()) {
			return true
		}
	}
	return false
}

// create makes the bridge with the machine's own address.
func (s *segment) create() error {
	if err := s.addBridge(); err != nil {
		return fmt.Errorf("bridge %s: %w", s.Bridge, err)
	}
	return nil
}

func (s *segment) addBridge() error {
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: s.Bridge}}); err != nil {
		return err
	}
	bridge, err := netlink.LinkByName(s.Bridge)
	if err != nil {
		return err
	}
	// The machine's own firewall has no say in what passes between the nodes.
	if err := os.WriteFile("/sys/class/net/"+s.Bridge+"/bridge/nf_call_iptables", []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := s.addAddress(bridge, s.gateway()); err != nil {
		return err
	}
	return netlink.LinkSetUp(bridge)
}

// gateway is the machine's own address on the segment.
func (s *segment) gateway() netip.Addr { return s.host(1) }

// master is the address of master i, counted from 0; node that of node i.
func (s *segment) master(i int) netip.Addr { return s.host(byte(11 + i)) }
func (s *segment) node(i int) netip.Addr   { return s.host(byte(101 + i)) }

func (s *segment) host(n byte) netip.Addr {
	b := s.Range.Addr().As4()
	b[3] = n
	return netip.AddrFrom4(b)
}

// addMaster gives the bridge the address of master i.
func (s *segment) addMaster(i int) error {
	bridge, err := netlink.LinkByName(s.Bridge)
	if err != nil {
		return err
	}
	return s.addAddress(bridge, s.master(i))
}

func (s *segment) addAddress(link netlink.Link, ip netip.Addr) error {
	return netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(24, 32)}})
}

// reserveNodes gives names to the network namespaces of n nodes; addNode makes them.
func (s *segment) reserveNodes(n int) {
	for i := range n {
		s.Nodes = append(s.Nodes, fmt.Sprintf("%s-node%d", s.Bridge, i+1))
	}
}

// addNode makes the namespace of node i, with a cable to the bridge.
func (s *segment) addNode(i int) error {
	name := s.Nodes[i]
	bridge, err := netlink.LinkByName(s.Bridge)
	if err != nil {
		return err
	}
	namespace, err := newNamespace(name)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	defer namespace.Close()
	cable := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: s.cable(i), MasterIndex: bridge.Attrs().Index},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(namespace),
	}
	if err := netlink.LinkAdd(cable); err != nil {
		return err
	}
	outside, err := netlink.LinkByName(cable.Name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(outside); err != nil {
		return err
	}
	return s.configureNode(namespace, s.node(i))
}

func (s *segment) configureNode(namespace netns.NsHandle, ip netip.Addr) error {
	inside, err := netlink.NewHandleAt(namespace)
	if err != nil {
		return err
	}
	defer inside.Close()
	for _, name := range []string{"lo", "eth0"} {
		link, err := inside.LinkByName(name)
		if err != nil {
			return err
		}
		if name == "eth0" {
			address := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(24, 32)}}
			if err := inside.AddrReplace(link, address); err != nil {
				return err
			}
		}
		if err := inside.LinkSetUp(link); err != nil {
			return err
		}
	}
	return inside.RouteReplace(&netlink.Route{Gw: s.gateway().AsSlice()})
}

// newNamespace makes a named network namespace from a thread of its own.
func newNamespace(name string) (netns.NsHandle, error) {
	type made struct {
		namespace netns.NsHandle
		err       error
	}
	result := make(chan made)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is in the new namespace and ends with the goroutine
		namespace, err := netns.NewNamed(name)
		result <- made{namespace, err}
	}()
	m := <-result
	return m.namespace, m.err
}

// cable is the machine's end of the link to node i.
func (s *segment) cable(i int) string { return fmt.Sprintf("%sn%d", s.Bridge, i+1) }

// remove takes away all that the segment put on this machine. Gone already is no error. The cables go
// first: the kernel removes what is left of a namespace in its own time.
func (s *segment) remove() error {
	var failed []error
	for i, name := range s.Nodes {
		failed = append(failed, removeLink(s.cable(i)))
		if err := netns.DeleteNamed(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = append(failed, fmt.Errorf("network namespace %s: %w", name, err))
		}
	}
	return errors.Join(append(failed, removeLink(s.Bridge))...)
}

func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if errors.As(err, &netlink.LinkNotFoundError{}) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return nil
}
