package proxy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/knftables"
)

const (
	tableName = "ctlplane-proxy"

	services    = "services" // the chain that finds a packet's service port
	chainPrefix = "service-" // of the names of service ports' chains

	servicePorts = "service-ports" // cluster IP, protocol and port → chain of the service port
	noEndpoints  = "no-endpoints"  // cluster IP, protocol and port of services with nowhere to go
	hairpin      = "hairpin"       // backend paired with itself: a pod that reached itself by its service
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
	var found []string
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
	// Deletions come first: a cluster IP that passed from one service to another is an element of the
	// same map under both.
	for chain, old := range t.applied {
		if f, keep := next[chain]; !keep || !f.equal(old) {
			tx.Delete(frontend(old))
		}
	}
	for chain, f := range next {
		if old, exists := t.applied[chain]; exists && f.equal(old) {
			continue
		}
		tx.Add(&knftables.Chain{Name: chain, Comment: ptr.To(f.name)})
		tx.Flush(&knftables.Chain{Name: chain})
		if len(f.backends) > 0 {
			tx.Add(&knftables.Rule{Chain: chain, Rule: distribute(f)})
		}
		tx.Add(frontend(f))
	}
	for _, chain := range append(found, slices.Collect(maps.Keys(t.applied))...) {
		if _, keep := next[chain]; !keep {
			tx.Delete(&knftables.Chain{Name: chain})
		}
	}
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

// takeOver empties the table, whoever left it there, and lays the parts that do not depend on services. It
// returns the chains of service ports that are in the table.
func (t *table) takeOver(ctx context.Context, tx *knftables.Transaction) (found []string, err error) {
	tx.Add(&knftables.Table{})
	if t.refused {
		tx.Delete(&knftables.Table{})
	} else if found, err = t.servicePortChains(ctx); err != nil {
		return nil, err
	}
	tx.Add(&knftables.Table{Comment: ptr.To("cluster IPs of services, kept by ctlplane")})
	tx.Add(&knftables.Map{Name: servicePorts, Type: "ipv4_addr . inet_proto . inet_service : verdict"})
	tx.Flush(&knftables.Map{Name: servicePorts})
	for name, kind := range map[string]string{noEndpoints: "ipv4_addr . inet_proto . inet_service", hairpin: "ipv4_addr . ipv4_addr"} {
		tx.Add(&knftables.Set{Name: name, Type: kind})
		tx.Flush(&knftables.Set{Name: name})
	}
	t.layBase(tx)
	return found, nil
}

// servicePortChains lists the chains that other transactions made, by this process or another.
func (t *table) servicePortChains(ctx context.Context) ([]string, error) {
	chains, err := t.nft.List(ctx, "chain")
	if err != nil && !knftables.IsNotFound(err) {
		return nil, fmt.Errorf("read nftables table %s: %w", tableName, err)
	}
	return slices.DeleteFunc(chains, func(name string) bool { return !strings.HasPrefix(name, chainPrefix) }), nil
}

// layBase makes the chains through which traffic comes to the service ports.
func (t *table) layBase(tx *knftables.Transaction) {
	tx.Add(&knftables.Chain{Name: services})
	tx.Flush(&knftables.Chain{Name: services})
	tx.Add(&knftables.Rule{Chain: services, Rule: "ip daddr . meta l4proto . th dport vmap @" + servicePorts})
	base(tx, "prerouting", knftables.NATType, knftables.PreroutingHook, knftables.DNATPriority, "jump "+services)
	base(tx, "output", knftables.NATType, knftables.OutputHook, knftables.DNATPriority, "jump "+services)
	base(tx, "postrouting", knftables.NATType, knftables.PostroutingHook, knftables.SNATPriority,
		"ip saddr . ip daddr @"+hairpin+" masquerade")
	refuse := "ip daddr . meta l4proto . th dport @" + noEndpoints + " reject"
	base(tx, "refuse-forward", knftables.FilterType, knftables.ForwardHook, knftables.FilterPriority, refuse)
	base(tx, "refuse-output", knftables.FilterType, knftables.OutputHook, knftables.FilterPriority, refuse)
}

func base(tx *knftables.Transaction, name string, kind knftables.BaseChainType, hook knftables.BaseChainHook, priority knftables.BaseChainPriority, rule string) {
	tx.Add(&knftables.Chain{Name: name, Type: ptr.To(kind), Hook: ptr.To(hook), Priority: ptr.To(priority)})
	tx.Flush(&knftables.Chain{Name: name})
	tx.Add(&knftables.Rule{Chain: name, Rule: rule})
}

// frontend is the element that makes traffic for the forward arrive at its chain, or be refused.
func frontend(f forward) *knftables.Element {
	key := []string{f.clusterIP.String(), f.protocol, strconv.Itoa(int(f.port))}
	if len(f.backends) == 0 {
		return &knftables.Element{Set: noEndpoints, Key: key}
	}
	return &knftables.Element{Map: servicePorts, Key: key, Value: []string{"goto " + f.chain()}}
}

// distribute is the rule that picks a backend at random for each new connection.
func distribute(f forward) string {
	var rule strings.Builder
	fmt.Fprintf(&rule, "meta l4proto %s dnat ip to numgen random mod %d map {", f.protocol, len(f.backends))
	for i, backend := range f.backends {
		if i > 0 {
			rule.WriteByte(',')
		}
		fmt.Fprintf(&rule, " %d : %s . %d", i, backend.Addr(), backend.Port())
	}
	rule.WriteString(" }")
	return rule.String()
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
