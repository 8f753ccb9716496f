package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/knftables"

	"github.com/ctlplane/ctlplane/agent/network/netnstest"
)

func TestForwardsHonourPolicies(t *testing.T) {
	on := func(node string, e discoveryv1.Endpoint) discoveryv1.Endpoint {
		e.NodeName = &node
		return e
	}
	s := service("web", "10.43.0.9", corev1.ServicePort{Name: "http", Port: 80, NodePort: 30080})
	s.Spec.ExternalIPs = []string{"192.0.2.9", "2001:db8::9", "192.0.2.8"}
	s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To[int32](60)}}
	s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	got := forwards([]*corev1.Service{s}, []*discoveryv1.EndpointSlice{slice("web", 8080,
		on("n1", endpoint("10.42.1.2", false, true, true)), on("n1", endpoint("10.42.1.3", false, false, true)),
		on("n2", endpoint("10.42.2.2", true, true, false)), endpoint("10.42.3.2", true, true, false))}, "n1")
	want := forward{
		name: "default/web:http", protocol: "tcp", clusterIP: netip.MustParseAddr("10.43.0.9"), port: 80, nodePort: 30080,
		external: []netip.Addr{netip.MustParseAddr("192.0.2.8"), netip.MustParseAddr("192.0.2.9")},
		backends: []netip.AddrPort{netip.MustParseAddrPort("10.42.2.2:8080"), netip.MustParseAddrPort("10.42.3.2:8080")},
		// All of this node's end: those that still serve are better than none.
		local:         []netip.AddrPort{netip.MustParseAddrPort("10.42.1.2:8080")},
		internalLocal: true, externalLocal: true, affinity: time.Minute,
	}
	if len(got) != 1 || !got[0].equal(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	s.Spec.SessionAffinityConfig, s.Spec.InternalTrafficPolicy, s.Spec.ExternalTrafficPolicy = nil, nil, ""
	if f := forwards([]*corev1.Service{s}, nil, "n1")[0]; f.affinity != 3*time.Hour || f.internalLocal || f.externalLocal {
		t.Errorf("by default %+v", f)
	}
}

// site is a node between a client and a pod, each a network namespace. The pod answers at two ports, each a backend.
type site struct {
	t                 *testing.T
	client, node, pod string
	one, two          netip.AddrPort
}

const (
	clientIP = "172.30.8.1"
	nodeIP   = "172.30.8.2"
	outIP    = "198.51.100.2"
)

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, client: netnstest.New(t, "client"), node: netnstest.New(t, "node"), pod: netnstest.New(t, "pod")}
	for _, cable := range []struct{ a, linkA, addressA, b, linkB, addressB string }{
		{s.client, "eth0", clientIP + "/24", s.node, "eth0", nodeIP + "/24"},
		{s.pod, "eth0", "10.42.0.2/24", s.node, podBridge, "10.42.0.1/24"},
	} {
		s.ip("link", "add", cable.linkA, "netns", cable.a, "type", "veth", "peer", "name", cable.linkB, "netns", cable.b)
		s.ip("-n", cable.a, "addr", "add", cable.addressA, "dev", cable.linkA)
		s.ip("-n", cable.b, "addr", "add", cable.addressB, "dev", cable.linkB)
		s.ip("-n", cable.a, "link", "set", cable.linkA, "up")
		s.ip("-n", cable.b, "link", "set", cable.linkB, "up")
	}
	s.ip("-n", s.pod, "route", "add", "default", "via", "10.42.0.1")
	s.ip("-n", s.client, "route", "add", "default", "via", nodeIP)
	// The way out is none that clients come by: the kernel's redirects for that count against the refusals that it may send.
	s.ip("-n", s.node, "link", "add", "out", "type", "veth", "peer", "name", "nowhere")
	s.ip("-n", s.node, "addr", "add", outIP+"/24", "dev", "out")
	s.ip("-n", s.node, "link", "set", "nowhere", "up")
	s.ip("-n", s.node, "link", "set", "out", "up")
	s.ip("-n", s.node, "route", "add", "default", "via", "198.51.100.1")
	s.in(s.node, func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
			t.Error(err)
		}
	})
	s.in(s.pod, func() { s.one, s.two = s.serve(), s.serve() })
	return s
}

func (s *site) ip(args ...string) {
	s.t.Helper()
	netnstest.IP(s.t, args...)
}

// in runs f on a thread in a namespace.
func (s *site) in(name string, f func()) {
	s.t.Helper()
	netnstest.Do(s.t, name, f)
}

// serve answers each connection with the port that it came to and the address that it came from.
func (s *site) serve() netip.AddrPort {
	listener, err := net.Listen("tcp", "10.42.0.2:0")
	if err != nil {
		s.t.Error(err)
		return netip.AddrPort{}
	}
	s.t.Cleanup(func() { listener.Close() })
	own := netip.MustParseAddrPort(listener.Addr().String())
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(conn, "%d %s", own.Port(), conn.RemoteAddr().(*net.TCPAddr).IP)
			conn.Close()
		}
	}()
	return own
}

// apply makes rules the node's.
func (s *site) apply(f forward) {
	s.t.Helper()
	s.in(s.node, func() {
		nft, err := knftables.New(knftables.IPv4Family, tableName)
		if err == nil {
			err = (&table{nft: nft}).apply(s.t.Context(), []forward{f})
		}
		if err != nil {
			s.t.Error(err)
		}
	})
}

// answers asks often enough to see all backends that there are: both are missed in all tries once in 2^39 runs. It gives the ports that
// answered, or the kind of failure, and the address that the pod saw.
func (s *site) answers(from, address string) (ports, seen string) {
	s.t.Helper()
	var all, sources []string
	s.in(from, func() {
		for range 40 {
			dialer := net.Dialer{Timeout: time.Second, FallbackDelay: -1}
			conn, err := dialer.DialContext(s.t.Context(), "tcp", address)
			if err != nil {
				all = append(all, failure(err))
				return
			}
			answer, err := io.ReadAll(conn)
			conn.Close()
			if err != nil {
				all = append(all, failure(err))
				return
			}
			port, source, _ := strings.Cut(string(answer), " ")
			all, sources = append(all, port), append(sources, source)
		}
	})
	unique := func(list []string) string {
		slices.Sort(list)
		return strings.Join(slices.Compact(list), " ")
	}
	return unique(all), unique(sources)
}

func failure(err error) string {
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return "silence"
	}
	if strings.Contains(err.Error(), "refused") {
		return "refused"
	}
	return err.Error()
}

// TestPoliciesInTheKernel asks a service from outside, from its node and from a pod of the node, by its node port, its external
// address and its cluster IP.
func TestPoliciesInTheKernel(t *testing.T) {
	s := newSite(t)
	const external, cluster = "192.0.2.9:80", "10.43.0.9:80"
	base := forward{
		name: "default/web:http", protocol: "tcp", clusterIP: netip.MustParseAddr("10.43.0.9"), port: 80, nodePort: 30080,
		external: []netip.Addr{netip.MustParseAddr("192.0.2.9")}, backends: []netip.AddrPort{s.one, s.two}, local: []netip.AddrPort{s.one},
	}
	if s.one.Port() > s.two.Port() {
		base.backends = []netip.AddrPort{s.two, s.one}
	}
	one, node := fmt.Sprint(s.one.Port()), nodeIP+":30080"
	list := []string{one, fmt.Sprint(s.two.Port())}
	slices.Sort(list)
	both := strings.Join(list, " ")
	type ask struct{ from, to, ports, seen string }
	for _, tc := range []struct {
		name   string
		change func(*forward)
		asks   []ask
	}{
		{"Cluster", func(*forward) {}, []ask{
			{s.client, node, both, "10.42.0.1"}, {s.client, external, both, "10.42.0.1"}, {s.node, node, both, "10.42.0.1"},
			{s.node, cluster, both, outIP}, {s.pod, cluster, both, "10.42.0.1"}, {s.pod, node, both, "10.42.0.1"},
		}},
		{"external Local", func(f *forward) { f.externalLocal = true }, []ask{
			{s.client, node, one, clientIP}, {s.client, external, one, clientIP},
			{s.node, node, both, "10.42.0.1"}, {s.pod, node, both, "10.42.0.1"}, {s.node, cluster, both, outIP},
		}},
		{"external Local, none here", func(f *forward) { f.externalLocal, f.local = true, nil }, []ask{
			{s.client, node, "silence", ""}, {s.node, node, both, "10.42.0.1"}, {s.node, cluster, both, outIP},
		}},
		{"internal Local", func(f *forward) { f.internalLocal = true }, []ask{
			{s.node, cluster, one, outIP}, {s.client, node, both, "10.42.0.1"},
		}},
		{"internal Local, none here", func(f *forward) { f.internalLocal, f.local = true, nil }, []ask{
			{s.client, cluster, "silence", ""}, {s.client, node, both, "10.42.0.1"},
		}},
		{"no endpoint", func(f *forward) { f.backends, f.local = nil, nil }, []ask{
			{s.client, node, "refused", ""}, {s.client, external, "refused", ""}, {s.node, node, "refused", ""}, {s.pod, cluster, "refused", ""},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := base
			tc.change(&f)
			s.apply(f)
			for _, a := range tc.asks {
				if ports, seen := s.answers(a.from, a.to); ports != a.ports || seen != a.seen {
					t.Errorf("%s → %s: answers from %q that saw %q, want %q that saw %q", a.from, a.to, ports, seen, a.ports, a.seen)
				}
			}
		})
	}

	t.Run("affinity", func(t *testing.T) {
		f := base
		f.affinity = time.Hour
		s.apply(f)
		first, _ := s.answers(s.client, node)
		if strings.Contains(first, " ") || !strings.Contains(both, first) {
			t.Fatalf("one client is answered by %q, want one backend of %s", first, both)
		}
		for range 5 { // by another proxy, each time
			s.apply(f)
			if again, _ := s.answers(s.client, node); again != first {
				t.Errorf("after the table was taken over the client is answered by %q, want %s as before", again, first)
			}
		}
		f.backends = slices.DeleteFunc(slices.Clone(f.backends), func(b netip.AddrPort) bool { return fmt.Sprint(b.Port()) == first })
		s.apply(f)
		if next, _ := s.answers(s.client, node); next != fmt.Sprint(f.backends[0].Port()) {
			t.Errorf("when its backend is gone the client is answered by %q, want the other one", next)
		}
	})
}
