package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/vishvananda/netlink"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/knftables"
)

const (
	tableName = "ctlplane-proxy"

	services    = "services" // the chain that finds a packet's service port
	refusal     = "refuse"   // the chain that tells a client at once that nobody is there
	refuse      = "goto " + refusal
	chainPrefix = "service-" // of the names of service ports' chains

	servicePorts = "service-ports" // address, protocol and port → chain of the service port
	noEndpoints  = "no-endpoints"  // the same of services with nowhere to go → what to do instead
	nodePorts    = "node-ports"    // protocol and port of the node → chain of the service port
	// noEndpointNodePorts are to nodePorts what noEndpoints are to servicePorts.
	noEndpointNodePorts = "no-endpoint-node-ports"

	hairpin = "hairpin" // backend paired with itself: a pod that reached itself by its service
)

const (
	// podBridge is the link through which the node's pods come, as agent/network names it.
	podBridge = "ctlplane0"
	// atNodePort matches what is sent to the node itself, from elsewhere or by its real addresses.
	atNodePort = "fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @"
	// The mark says, until the packet leaves, that its source is to be the node.
	markMasked = "meta mark set meta mark or 0x4000"
	isMasked   = "meta mark and 0x4000 == 0x4000"
	unmark     = "meta mark set meta mark xor 0x4000"
)

// table is the proxy's nftables table and what is known to be in it.
//
// The table outlives the process. The first transaction takes over the one that it finds: what is the same
// stays in force, and in the same step the rest becomes what it should be.
type table struct {
	nft knftables.Interface
	// forget deletes flows from the kernel's connection table; nil for a table that is not the kernel's.
	forget func(netlink.CustomConntrackFilter) error
	// applied is what the last transaction left in the kernel, by chain; nil before the first one.
	applied map[string]forward
	// refused says that the kernel refused the last transaction. The next one makes the table anew: what is there may
	// be of a form that another version of the program gave it.
	refused bool
}

// apply makes the kernel's table say want, in one transaction that holds only what differs.
func (t *table) apply(ctx context.Context, want []forward) error {
	tx := t.nft.NewTransaction()
	var found existing
	if t.applied == nil {
		var err error
		if found, err = t.takeOver(ctx, tx); err != nil {
			return err
		}
	}
	next := make(map[string]forward, len(want))
	for _, f := range want {
		next[f.chain()] = f
	}
	t.change(tx, next, found)
	t.hairpins(tx, next)
	if tx.NumOperations() == 0 {
		return nil
	}
	if err := t.nft.Run(ctx, tx); err != nil {
		t.applied, t.refused = nil, true // what is there is unknown now
		return fmt.Errorf("nftables table %s: %w", tableName, err)
	}
	stale := staleAfter(t.applied, next)
	t.applied, t.refused = next, false
	if stale == nil || t.forget == nil {
		return nil
	}
	// Only now: a flow that is forgotten before the rules are new would begin again by the old ones.
	if err := t.forget(stale); err != nil {
		t.applied = nil // hold all services against the flows again
		return fmt.Errorf("forget the flows to endpoints that are gone: %w", err)
	}
	return nil
}

// existing are names of chains and sets of service ports that are in the table.
type existing struct{ chains, sets map[string]bool }

func newExisting() existing { return existing{map[string]bool{}, map[string]bool{}} }

func (e existing) add(r rules) {
	for _, c := range r.chains {
		e.chains[c.name] = true
	}
	for _, set := range r.sets {
		e.sets[set.Name] = true
	}
}

// change makes what differs between the forwards that are in force and next, and takes away what was found and is not wanted.
func (t *table) change(tx *knftables.Transaction, next map[string]forward, found existing) {
	goes, stays := newExisting(), newExisting()
	maps.Copy(goes.chains, found.chains)
	maps.Copy(goes.sets, found.sets)
	// Deletions come first: an address that passed from one service to another is an element of the same map under both.
	for id, old := range t.applied {
		if f, keep := next[id]; keep && f.equal(old) {
			continue
		}
		r := old.rules()
		goes.add(r)
		for _, element := range r.elements {
			tx.Delete(element)
		}
	}
	var changed []rules
	for id, f := range next {
		r := f.rules()
		stays.add(r)
		if old, exists := t.applied[id]; !exists || !f.equal(old) {
			changed = append(changed, r)
			for _, set := range r.sets {
				tx.Add(set)
			}
			for _, c := range r.chains {
				tx.Add(&knftables.Chain{Name: c.name, Comment: ptr.To(f.name)})
			}
		}
	}
	for name := range goes.chains { // what refers to what goes, goes first
		tx.Flush(&knftables.Chain{Name: name})
	}
	for _, r := range changed {
		for _, c := range r.chains {
			tx.Flush(&knftables.Chain{Name: c.name})
			for _, rule := range c.rules {
				tx.Add(&knftables.Rule{Chain: c.name, Rule: rule})
			}
		}
		for _, element := range r.elements {
			tx.Add(element)
		}
	}
	for name := range goes.chains {
		if !stays.chains[name] {
			tx.Delete(&knftables.Chain{Name: name})
		}
	}
	for name := range goes.sets {
		if !stays.sets[name] {
			tx.Delete(&knftables.Set{Name: name})
		}
	}
}

// takeOver empties the table, whoever left it there, and lays the parts that do not depend on services. It
// returns the chains of service ports that are in the table.
func (t *table) takeOver(ctx context.Context, tx *knftables.Transaction) (found existing, err error) {
	found = newExisting()
	tx.Add(&knftables.Table{})
	if t.refused {
		tx.Delete(&knftables.Table{})
	} else if err := errors.Join(t.list(ctx, "chain", found.chains), t.list(ctx, "set", found.sets)); err != nil {
		return found, err
	}
	tx.Add(&knftables.Table{Comment: ptr.To("cluster IPs of services, kept by ctlplane")})
	for _, m := range []*knftables.Map{
		{Name: servicePorts, Type: "ipv4_addr . inet_proto . inet_service : verdict"},
		{Name: noEndpoints, Type: "ipv4_addr . inet_proto . inet_service : verdict"},
		{Name: nodePorts, Type: "inet_proto . inet_service : verdict"},
		{Name: noEndpointNodePorts, Type: "inet_proto . inet_service : verdict"},
	} {
		tx.Add(m)
		tx.Flush(m)
	}
	pairs := &knftables.Set{Name: hairpin, Type: "ipv4_addr . ipv4_addr"}
	tx.Add(pairs)
	tx.Flush(pairs)
	t.layBase(tx)
	return found, nil
}

// list adds the names of service ports' chains or sets that other transactions made, by this process or another.
func (t *table) list(ctx context.Context, kind string, into map[string]bool) error {
	names, err := t.nft.List(ctx, kind)
	if err != nil && !knftables.IsNotFound(err) {
		return fmt.Errorf("read nftables table %s: %w", tableName, err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, chainPrefix) {
			into[name] = true
		}
	}
	return nil
}

// layBase makes the chains through which traffic comes to the service ports.
func (t *table) layBase(tx *knftables.Transaction) {
	tx.Add(&knftables.Chain{Name: services})
	tx.Flush(&knftables.Chain{Name: services})
	tx.Add(&knftables.Rule{Chain: services, Rule: "ip daddr . meta l4proto . th dport vmap @" + servicePorts})
	tx.Add(&knftables.Rule{Chain: services, Rule: atNodePort + nodePorts})
	base(tx, "prerouting", knftables.NATType, knftables.PreroutingHook, knftables.DNATPriority, "jump "+services)
	base(tx, "output", knftables.NATType, knftables.OutputHook, knftables.DNATPriority, "jump "+services)
	base(tx, "postrouting", knftables.NATType, knftables.PostroutingHook, knftables.SNATPriority,
		"ip saddr . ip daddr @"+hairpin+" masquerade", isMasked+" "+unmark+" masquerade")
	tx.Add(&knftables.Chain{Name: refusal})
	tx.Flush(&knftables.Chain{Name: refusal})
	tx.Add(&knftables.Rule{Chain: refusal, Rule: "reject"})
	without := "ip daddr . meta l4proto . th dport vmap @" + noEndpoints
	base(tx, "refuse-forward", knftables.FilterType, knftables.ForwardHook, knftables.FilterPriority, without)
	base(tx, "refuse-output", knftables.FilterType, knftables.OutputHook, knftables.FilterPriority, without, atNodePort+noEndpointNodePorts)
	base(tx, "refuse-input", knftables.FilterType, knftables.InputHook, knftables.FilterPriority, without, atNodePort+noEndpointNodePorts)
}

func base(tx *knftables.Transaction, name string, kind knftables.BaseChainType, hook knftables.BaseChainHook, priority knftables.BaseChainPriority, rules ...string) {
	tx.Add(&knftables.Chain{Name: name, Type: ptr.To(kind), Hook: ptr.To(hook), Priority: ptr.To(priority)})
	tx.Flush(&knftables.Chain{Name: name})
	for _, rule := range rules {
		tx.Add(&knftables.Rule{Chain: name, Rule: rule})
	}
}

// hairpins brings the set of backends that may reach themselves up to date.
func (t *table) hairpins(tx *knftables.Transaction, next map[string]forward) {
	old, want := backendIPs(t.applied), backendIPs(next)
	for ip := range want {
		if !old[ip] {
			tx.Add(&knftables.Element{Set: hairpin, Key: []string{ip, ip}})
		}
	}
	for ip := range old {
		if !want[ip] {
			tx.Delete(&knftables.Element{Set: hairpin, Key: []string{ip, ip}})
		}
	}
}

func backendIPs(forwards map[string]forward) map[string]bool {
	ips := map[string]bool{}
	for _, f := range forwards {
		for _, backend := range f.backends {
			ips[backend.Addr().String()] = true
		}
	}
	return ips
}

// remove takes the table out of the kernel.
func (t *table) remove(ctx context.Context) error {
	tx := t.nft.NewTransaction()
	tx.Add(&knftables.Table{}) // so that the deletion succeeds when there is none
	tx.Delete(&knftables.Table{})
	t.applied = nil
	return t.nft.Run(ctx, tx)
}
