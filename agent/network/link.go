package network

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	bridgeName = "ctlplane0"
	podLink    = "eth0"
)

// ensureForwarding lets the node pass packets on between its links.
func ensureForwarding() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("the pod network needs IP forwarding: %w", err)
	}
	return nil
}

// ensureBridge makes the node's bridge, with the pod range's gateway as its address.
func ensureBridge(podRange netip.Prefix) error {
	link, err := netlink.LinkByName(bridgeName)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		// With a MAC of its own the bridge keeps it when ports come and go, and pods' knowledge of it stays true.
		attributes := netlink.LinkAttrs{Name: bridgeName, HardwareAddr: macOf(gateway(podRange))}
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes}); err != nil {
			return err
		}
		link, err = netlink.LinkByName(bridgeName)
	}
	if err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(gateway(podRange), podRange.Bits()))}
	current, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, old := range current {
		if !old.Equal(*address) { // of a range that the node had before
			if err := netlink.AddrDel(link, &old); err != nil {
				return err
			}
		}
	}
	if err := netlink.AddrReplace(link, address); err != nil {
		return err
	}
	// Pods of one node reach each other through the gateway by design: no redirects to the short way.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+bridgeName+"/send_redirects", []byte("0"), 0); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// connect puts a pod's end of a veth pair into the namespace at path and gives it its address. It starts
// anew when an earlier try left something.
func connect(id, path string, ip netip.Addr, podRange netip.Prefix) error {
	bridge, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return err
	}
	namespace, err := netns.GetFromPath(path)
	if err != nil {
		return err
	}
	defer namespace.Close()
	inside, err := netlink.NewHandleAt(namespace)
	if err != nil {
		return err
	}
	defer inside.Close()

	if err := disconnect(id); err != nil {
		return err
	}
	pair := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: hostLink(id), MasterIndex: bridge.Attrs().Index},
		PeerName:      podLink,
		PeerNamespace: netlink.NsFd(namespace),
		// The address's own MAC: whoever knew the pod that had the address before need not learn anything.
		PeerHardwareAddr: macOf(ip),
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return err
	}
	host, err := netlink.LinkByName(pair.Name)
	if err != nil {
		return err
	}
	// A pod that reaches itself, by its service or its host port, is sent back where it came from. Where the kernel lets bridged
	// frames through its rules (bridge-nf-call-iptables), the bridge does that, and only for ports that allow it.
	if err := netlink.LinkSetHairpin(host, true); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(host); err != nil {
		return err
	}
	return configure(inside, ip, gateway(podRange))
}

// configure sets up a pod's links from inside: loopback, its address, and everything by the gateway.
func configure(inside *netlink.Handle, ip, gateway netip.Addr) error {
	loopback, err := inside.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := inside.LinkSetUp(loopback); err != nil {
		return err
	}
	link, err := inside.LinkByName(podLink)
	if err != nil {
		return err
	}
	if err := inside.AddrReplace(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(ip, 32))}); err != nil {
		return err
	}
	if err := inside.LinkSetUp(link); err != nil {
		return err
	}
	return inside.RouteReplace(&netlink.Route{
		LinkIndex: link.Attrs().Index,
		Gw:        gateway.AsSlice(),
		Flags:     int(netlink.FLAG_ONLINK),
	})
}

// disconnect removes a pod's veth pair; both ends go together. None is no error.
func disconnect(id string) error {
	link, err := netlink.LinkByName(hostLink(id))
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return err
	}
	return unlessGone(netlink.LinkDel(link))
}

// unlessGone passes an error on but that the link or route to delete is not there any more: the kernel
// deletes links with their namespaces, and routes with their links, in its own time.
func unlessGone(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) || errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	return err
}

// hostLink names the node's end of a pod's veth pair: a link's name has 15 bytes at the most.
func hostLink(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "ctl" + hex.EncodeToString(sum[:6])
}

// macOf is the locally administered MAC that goes with an IPv4 address.
func macOf(ip netip.Addr) net.HardwareAddr {
	b := ip.As16()
	return net.HardwareAddr{0x02, 0x42, b[12], b[13], b[14], b[15]}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
