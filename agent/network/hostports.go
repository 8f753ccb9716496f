package network

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/knftables"
)

const (
	hostPortTable = "ctlplane-hostports"

	portsOfNode    = "ports"         // protocol and port of the node → pod's address and port
	portsOfAddress = "address-ports" // the same for a port of one of the node's addresses
	ownPorts       = "hairpin"       // pod paired with itself: one that reached itself by its host port
)

// HostPort is a port of the node that leads to a port of a pod.
type HostPort struct {
	Protocol string     // tcp, udp or sctp
	HostIP   netip.Addr // the node's address that it is a port of; not valid or unspecified for all
	Port     uint16     // on the node
	PodPort  uint16
}

// hostPorts is the node's table of host ports. What is in force is known from the kernel alone, so that it outlives the
// agent, and a crash leaves nothing that release would not find.
//
// Who decides which pod may have a port is the scheduler, and the agent's admission; the callers serialize.
type hostPorts struct {
	nft knftables.Interface
	// owners are the pods' addresses that have something in the table; nil before it was read. Most pods have no host port,
	// and their ends cost no look at the kernel.
	owners map[string]bool
}

func openHostPorts() (*hostPorts, error) {
	nft, err := knftables.New(knftables.IPv4Family, hostPortTable)
	if err != nil {
		return nil, fmt.Errorf("host ports need nftables (Debian's package nftables, and root): %w", err)
	}
	return &hostPorts{nft: nft}, nil
}

// read finds out who has something in the table.
func (h *hostPorts) read(ctx context.Context) error {
	if h.owners != nil {
		return nil
	}
	ports, err := h.elements(ctx)
	if err != nil {
		return err
	}
	pairs, err := h.nft.ListElements(ctx, "set", ownPorts)
	if err != nil && !knftables.IsNotFound(err) {
		return fmt.Errorf("read nftables table %s: %w", hostPortTable, err)
	}
	h.owners = map[string]bool{}
	for _, port := range ports {
		h.owners[port.Value[0]] = true
	}
	for _, pair := range pairs {
		h.owners[pair.Key[0]] = true
	}
	return nil
}

// claim leads ports of the node to the pod at ip, in place of whatever they led to.
func (h *hostPorts) claim(ctx context.Context, ip netip.Addr, ports []HostPort) error {
	if err := h.read(ctx); err != nil {
		return err
	}
	old, err := h.elements(ctx)
	if err != nil {
		return err
	}
	tx := h.nft.NewTransaction()
	h.lay(tx)
	taken := map[string]*knftables.Element{}
	for _, element := range old {
		taken[element.Map+" "+strings.Join(element.Key, " ")] = element
	}
	for _, port := range ports {
		element := port.element(ip)
		if before, ok := taken[element.Map+" "+strings.Join(element.Key, " ")]; ok {
			tx.Delete(before)
		}
		tx.Add(element)
	}
	tx.Add(pair(ip))
	if err := h.run(ctx, tx); err != nil {
		return err
	}
	h.owners[ip.String()] = true
	return nil
}

// release takes away what leads to the pod at ip.
func (h *hostPorts) release(ctx context.Context, ip netip.Addr) error {
	if err := h.read(ctx); err != nil || !h.owners[ip.String()] {
		return err
	}
	found, err := h.elements(ctx)
	if err != nil {
		return err
	}
	tx := h.nft.NewTransaction()
	for _, element := range found {
		if element.Value[0] == ip.String() {
			tx.Delete(element)
		}
	}
	tx.Add(pair(ip)) // so that the deletion succeeds when there is none
	tx.Delete(pair(ip))
	if err := h.run(ctx, tx); err != nil {
		return err
	}
	delete(h.owners, ip.String())
	return nil
}

// elements are all ports that lead somewhere.
func (h *hostPorts) elements(ctx context.Context) ([]*knftables.Element, error) {
	var all []*knftables.Element
	for _, name := range []string{portsOfNode, portsOfAddress} {
		list, err := h.nft.ListElements(ctx, "map", name)
		if err != nil && !knftables.IsNotFound(err) {
			return nil, fmt.Errorf("read nftables table %s: %w", hostPortTable, err)
		}
		all = append(all, list...)
	}
	return all, nil
}

// lay makes the table where it is missing. Its rules are made anew: an earlier version's may have been others.
func (h *hostPorts) lay(tx *knftables.Transaction) {
	tx.Add(&knftables.Table{Comment: ptr.To("host ports of pods, kept by ctlplane")})
	tx.Add(&knftables.Map{Name: portsOfNode, Type: "inet_proto . inet_service : ipv4_addr . inet_service"})
	tx.Add(&knftables.Map{Name: portsOfAddress, Type: "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"})
	tx.Add(&knftables.Set{Name: ownPorts, Type: "ipv4_addr . ipv4_addr"})
	const kinds = "meta l4proto { tcp, udp, sctp } "
	for _, chain := range []struct {
		name     string
		hook     knftables.BaseChainHook
		priority knftables.BaseChainPriority
		rules    []string
	}{
		{"prerouting", knftables.PreroutingHook, knftables.DNATPriority, nil},
		{"output", knftables.OutputHook, knftables.DNATPriority, nil},
		{"postrouting", knftables.PostroutingHook, knftables.SNATPriority, []string{"ip saddr . ip daddr @" + ownPorts + " masquerade"}},
	} {
		if chain.rules == nil {
			chain.rules = []string{
				"fib daddr type local " + kinds + "dnat ip to ip daddr . meta l4proto . th dport map @" + portsOfAddress,
				"fib daddr type local ip daddr != 127.0.0.0/8 " + kinds + "dnat ip to meta l4proto . th dport map @" + portsOfNode,
			}
		}
		tx.Add(&knftables.Chain{Name: chain.name, Type: ptr.To(knftables.NATType), Hook: ptr.To(chain.hook), Priority: ptr.To(chain.priority)})
		tx.Flush(&knftables.Chain{Name: chain.name})
		for _, rule := range chain.rules {
			tx.Add(&knftables.Rule{Chain: chain.name, Rule: rule})
		}
	}
}

func (h *hostPorts) run(ctx context.Context, tx *knftables.Transaction) error {
	if err := h.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("nftables table %s: %w", hostPortTable, err)
	}
	return nil
}

func (p HostPort) element(ip netip.Addr) *knftables.Element {
	e := &knftables.Element{
		Map: portsOfNode, Key: []string{p.Protocol, strconv.Itoa(int(p.Port))}, Value: []string{ip.String(), strconv.Itoa(int(p.PodPort))},
	}
	if p.HostIP.IsValid() && !p.HostIP.IsUnspecified() {
		e.Map, e.Key = portsOfAddress, append([]string{p.HostIP.String()}, e.Key...)
	}
	return e
}

func pair(ip netip.Addr) *knftables.Element {
	return &knftables.Element{Set: ownPorts, Key: []string{ip.String(), ip.String()}}
}

func removeHostPorts(ctx context.Context) error {
	h, err := openHostPorts()
	if err != nil {
		return nil // without nftables there is nothing of ours in it
	}
	tx := h.nft.NewTransaction()
	tx.Add(&knftables.Table{}) // so that the deletion succeeds when there is none
	tx.Delete(&knftables.Table{})
	return h.nft.Run(ctx, tx)
}
