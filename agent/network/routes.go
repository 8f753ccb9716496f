package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

const (
	// routeProtocol marks the routes that are ours (RTPROT, /etc/iproute2/rt_protos).
	routeProtocol = 0x63

	tunnelName = "ctlplane-vx"
	tunnelID   = 4242 // VXLAN network identifier
	tunnelPort = 8472 // UDP
	// tunnelOverhead is what VXLAN adds to a packet: outer Ethernet, IP, UDP and VXLAN headers.
	tunnelOverhead = 50
)

// peer is another node.
type peer struct {
	name     string
	ip       netip.Addr
	podRange netip.Prefix
}

// syncRoutes makes the peers' pod ranges reachable and takes away what leads to nodes that are gone.
func (n *Network) syncRoutes(peers []peer) error {
	var failed []error
	wanted := map[string]bool{}
	for _, p := range peers {
		wanted[p.podRange.String()] = true
		if err := n.routeTo(p); err != nil {
			failed = append(failed, fmt.Errorf("route to the pods of node %s (%s by %s): %w", p.name, p.podRange, p.ip, err))
		}
	}
	routes, err := ownRoutes()
	if err != nil {
		return errors.Join(append(failed, err)...)
	}
	for _, route := range routes {
		if route.Dst != nil && !wanted[route.Dst.String()] {
			failed = append(failed, unlessGone(netlink.RouteDel(&route)))
		}
	}
	return errors.Join(failed...)
}

// routeTo leads a peer's pod range to the peer: directly when its address is on one of our links.
func (n *Network) routeTo(p peer) error {
	ways, err := netlink.RouteGet(p.ip.AsSlice())
	if err != nil {
		return err
	}
	if len(ways) > 0 && ways[0].Gw == nil {
		return netlink.RouteReplace(&netlink.Route{
			LinkIndex: ways[0].LinkIndex,
			Dst:       ipNet(p.podRange),
			Gw:        p.ip.AsSlice(),
			Protocol:  routeProtocol,
		})
	}
	return n.tunnelTo(p)
}

// tunnelTo leads a peer's pod range through VXLAN. The far end's addresses follow from what is known of
// the peer, its range's first IP and a MAC made of the node's IP, so that nothing has to be exchanged.
func (n *Network) tunnelTo(p peer) error {
	tunnel, err := n.ensureTunnel()
	if err != nil {
		return err
	}
	index, mac := tunnel.Attrs().Index, macOf(p.ip)
	far := p.podRange.Masked().Addr()
	forwarding := &netlink.Neigh{
		LinkIndex: index, Family: familyBridge, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
		IP: p.ip.AsSlice(), HardwareAddr: mac,
	}
	if err := netlink.NeighSet(forwarding); err != nil {
		return err
	}
	neighbour := &netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: far.AsSlice(), HardwareAddr: mac}
	if err := netlink.NeighSet(neighbour); err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{
		LinkIndex: index,
		Dst:       ipNet(p.podRange),
		Gw:        far.AsSlice(),
		Flags:     int(netlink.FLAG_ONLINK),
		Protocol:  routeProtocol,
	})
}

const familyBridge = 7 // AF_BRIDGE

func (n *Network) ensureTunnel() (netlink.Link, error) {
	link, err := netlink.LinkByName(tunnelName)
	if err == nil {
		return link, nil
	}
	if !errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, err
	}
	way, err := n.ownLink()
	if err != nil {
		return nil, err
	}
	tunnel := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{
			Name:         tunnelName,
			MTU:          way.Attrs().MTU - tunnelOverhead,
			HardwareAddr: macOf(n.cfg.NodeIP),
		},
		VxlanId:      tunnelID,
		Port:         tunnelPort,
		SrcAddr:      n.cfg.NodeIP.AsSlice(),
		VtepDevIndex: way.Attrs().Index,
		Learning:     false,
	}
	if err := netlink.LinkAdd(tunnel); err != nil {
		return nil, err
	}
	link, err = netlink.LinkByName(tunnelName)
	if err != nil {
		return nil, err
	}
	address := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(n.podRange.Masked().Addr(), 32))}
	if err := netlink.AddrReplace(link, address); err != nil {
		return nil, err
	}
	return link, netlink.LinkSetUp(link)
}

// ownLink is the link that holds the node's address.
func (n *Network) ownLink() (netlink.Link, error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	for _, address := range all {
		if address.IP.Equal(n.cfg.NodeIP.AsSlice()) {
			return netlink.LinkByIndex(address.LinkIndex)
		}
	}
	return nil, fmt.Errorf("no link of this machine has the node's address %s", n.cfg.NodeIP)
}

func ownRoutes() ([]netlink.Route, error) {
	return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
}
