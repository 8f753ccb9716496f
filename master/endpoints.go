package master

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// apiEndpoints finds the addresses that the kubernetes service may lead to. Not every address of a master is one: an
// endpoint is an IPv4 address that means the same machine everywhere in the cluster.
type apiEndpoints struct {
	log *slog.Logger
	// told is what was said last of the addresses that are left out; it is said again only when it changes.
	told string
}

// of is the endpoints among the URLs of the masters' APIs. What it leaves out it tells, once.
func (e *apiEndpoints) of(urls []string) []netip.AddrPort {
	var endpoints []netip.AddrPort
	left := map[string]string{}
	for _, url := range urls {
		address, err := netip.ParseAddrPort(trimScheme(url))
		if err != nil {
			left[url] = "is not an IP address"
			continue
		}
		address = netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
		if reason := notAnEndpoint(address.Addr()); reason != "" {
			left[url] = reason
			continue
		}
		endpoints = append(endpoints, address)
	}
	e.tell(left, len(endpoints))
	return endpoints
}

func (e *apiEndpoints) tell(left map[string]string, others int) {
	var reasons []string
	for _, url := range slices.Sorted(maps.Keys(left)) {
		reasons = append(reasons, url+" "+left[url])
	}
	text := strings.Join(reasons, ", ")
	if text == e.told {
		return
	}
	e.told = text
	if text != "" {
		e.log.Warn("pods don't reach these masters through the kubernetes service: give them an address that the nodes can reach",
			"left_out", text, "endpoints", others)
	}
}

// notAnEndpoint is why an address can't be an endpoint's; empty if it can.
func notAnEndpoint(address netip.Addr) string {
	switch {
	case address.IsLoopback():
		return "is a loopback address, by which every machine means itself"
	case address.IsUnspecified():
		return "is no machine's address"
	case address.IsLinkLocalUnicast(), address.IsMulticast():
		return "is not an address of one machine in the whole cluster"
	case !address.Is4():
		return "is not an IPv4 address, and the pod network is IPv4"
	}
	return ""
}
