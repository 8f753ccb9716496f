package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/knftables"
)

// rules are a forward in the kernel's terms.
type rules struct {
	chains   []chain
	sets     []*knftables.Set
	elements []*knftables.Element
}

type chain struct {
	name  string
	rules []string
}

// rules says how the kernel does what the forward asks for:
//
//	service-ID           picks one of the backends
//	service-ID-local     picks one of those on this node, where a policy is Local
//	service-ID-external  is where traffic from outside of the cluster enters
//	service-ID-B         goes to backend B and remembers the client, where there is affinity
func (f forward) rules() rules {
	var r rules
	id := f.chain()
	if len(f.backends) > 0 {
		f.pick(&r, id, f.backends)
	}
	local := id + "-local"
	if (f.internalLocal || f.externalLocal) && len(f.local) > 0 {
		f.pick(&r, local, f.local)
	}

	inside, outside := "goto "+id, "goto "+id+"-external"
	if f.internalLocal {
		inside = "goto " + local
	}
	switch {
	case len(f.backends) == 0:
		inside, outside = refuse, refuse
	case f.internalLocal && len(f.local) == 0:
		inside = "drop" // there are endpoints, and none for this node's clients
	}
	f.enter(&r, f.clusterIP, inside)
	if f.nodePort == 0 && len(f.external) == 0 {
		return r
	}
	for _, ip := range f.external {
		f.enter(&r, ip, outside)
	}
	if f.nodePort != 0 {
		target := nodePorts
		if outside == refuse {
			target = noEndpointNodePorts
		}
		r.elements = append(r.elements, &knftables.Element{Map: target, Key: []string{f.protocol, strconv.Itoa(int(f.nodePort))}, Value: []string{outside}})
	}
	if outside != refuse {
		r.chains = append(r.chains, chain{id + "-external", f.externalRules(id, local)})
	}
	return r
}

// externalRules are the way in from outside of the cluster. With the policy Cluster a client is masked, so that answers come
// back by this node wherever the backend is. With the policy Local it is seen as it is and stays on this node; the
// node itself and its pods, who are inside, still reach all backends.
func (f forward) externalRules(id, local string) []string {
	if !f.externalLocal {
		return []string{markMasked, "goto " + id}
	}
	list := []string{
		fmt.Sprintf("iifname %q goto %s", podBridge, id),
		"fib saddr type local " + markMasked + " goto " + id,
	}
	if len(f.local) == 0 {
		return append(list, "drop")
	}
	return append(list, "goto "+local)
}

// enter makes traffic for the forward's port at an address arrive at a chain, or be refused.
func (f forward) enter(r *rules, ip netip.Addr, verdict string) {
	target := servicePorts
	if verdict == refuse || verdict == "drop" {
		target = noEndpoints
	}
	key := []string{ip.String(), f.protocol, strconv.Itoa(int(f.port))}
	r.elements = append(r.elements, &knftables.Element{Map: target, Key: key, Value: []string{verdict}})
}

// pick makes the chain that picks a backend at random for each new connection, or the one that the client had before.
func (f forward) pick(r *rules, name string, backends []netip.AddrPort) {
	if f.affinity == 0 {
		r.chains = append(r.chains, chain{name, []string{f.distribute(backends)}})
		return
	}
	var remembered, choices []string
	for i, backend := range backends {
		own := f.chain() + "-" + shortHash(fmt.Sprint(backend, f.affinity, name))
		r.sets = append(r.sets, &knftables.Set{
			Name: own, Type: "ipv4_addr", Flags: []knftables.SetFlag{knftables.DynamicFlag, knftables.TimeoutFlag}, Timeout: ptr.To(f.affinity),
		})
		r.chains = append(r.chains, chain{own, []string{
			"update @" + own + " { ip saddr }",
			fmt.Sprintf("meta l4proto %s dnat to %s", f.protocol, backend),
		}})
		remembered = append(remembered, "ip saddr @"+own+" goto "+own)
		choices = append(choices, fmt.Sprintf("%d : goto %s", i, own))
	}
	pick := fmt.Sprintf("numgen random mod %d vmap { %s }", len(backends), strings.Join(choices, " , "))
	r.chains = append(r.chains, chain{name, append(remembered, pick)})
}

func (f forward) distribute(backends []netip.AddrPort) string {
	var rule strings.Builder
	fmt.Fprintf(&rule, "meta l4proto %s dnat ip to numgen random mod %d map {", f.protocol, len(backends))
	for i, backend := range backends {
		if i > 0 {
			rule.WriteByte(',')
		}
		fmt.Fprintf(&rule, " %d : %s . %d", i, backend.Addr(), backend.Port())
	}
	rule.WriteString(" }")
	return rule.String()
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}
