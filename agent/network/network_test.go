package network

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/agent/network/netnstest"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

// host is a network namespace that plays a machine.
type host struct {
	t    *testing.T
	name string
}

func newHost(t *testing.T, name string) host {
	t.Helper()
	return host{t: t, name: netnstest.New(t, name)}
}

func (h host) path() string { return netnstest.Path(h.name) }

// do runs f on a thread that is inside the namespace.
func (h host) do(f func()) {
	h.t.Helper()
	netnstest.Do(h.t, h.name, f)
}

// cable joins two hosts with a veth pair.
func cable(t *testing.T, a host, addressA string, b host, addressB string) {
	t.Helper()
	nameA, nameB := "to-"+b.name[8:9], "to-"+a.name[8:9]
	netnstest.IP(t, "link", "add", nameA, "netns", a.name, "type", "veth", "peer", "name", nameB, "netns", b.name)
	for _, end := range []struct {
		h             host
		link, address string
	}{{a, nameA, addressA}, {b, nameB, addressB}} {
		netnstest.IP(t, "-n", end.h.name, "addr", "add", end.address, "dev", end.link)
		netnstest.IP(t, "-n", end.h.name, "link", "set", end.link, "up")
	}
}

func node(name, address, podRange string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{PodCIDR: podRange},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: address},
		}},
	}
}

// machine is a node's network in its namespace, with a pod.
type machine struct {
	host
	network *Network
	pod     host
	podIP   netip.Addr
}

// bringUp makes the network of node self in h and one pod on it.
func bringUp(t *testing.T, h host, self *corev1.Node, all ...*corev1.Node) machine {
	t.Helper()
	n, err := New(Config{
		Objects:     clienttest.New(),
		NodeName:    self.Name,
		NodeIP:      netip.MustParseAddr(self.Status.Addresses[0].Address),
		ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"),
		Dir:         t.TempDir(),
		Logger:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range all {
		if err := n.nodes.GetStore().Add(node); err != nil {
			t.Fatal(err)
		}
	}
	m := machine{host: h, network: n, pod: newHost(t, "pod-"+self.Name)}
	h.do(func() {
		if _, err := n.Setup(t.Context(), "pod", m.pod.path()); err != ErrNoRange {
			t.Errorf("Setup before the range is known: %v, want ErrNoRange", err)
		}
		if err := n.reconcile(t.Context()); err != nil {
			t.Error(err)
		}
		if m.podIP, err = n.Setup(t.Context(), "pod", m.pod.path()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// reaches fails the test unless a connection from one namespace gets to ip in another, and answers the
// address that the listener saw it come from.
func reaches(t *testing.T, from, to host, ip netip.Addr) netip.Addr {
	t.Helper()
	var listener net.Listener
	to.do(func() {
		var err error
		if listener, err = net.Listen("tcp", net.JoinHostPort(ip.String(), "0")); err != nil {
			t.Fatal(err)
		}
	})
	defer listener.Close()
	seen := make(chan netip.Addr, 1)
	go func() {
		defer close(seen)
		if conn, err := listener.Accept(); err == nil {
			seen <- conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
			conn.Close()
		}
	}()
	from.do(func() {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Errorf("%s → %s: %v", from.name, ip, err)
			listener.Close()
			return
		}
		conn.Close()
	})
	return <-seen
}

func TestPodsReachEachOtherOverNodes(t *testing.T) {
	for _, test := range []struct {
		name   string
		routed bool
	}{{"same link", false}, {"through a router, by VXLAN", true}} {
		t.Run(test.name, func(t *testing.T) {
			a, b := newHost(t, "a"), newHost(t, "b")
			nodeA, nodeB := node("a", "172.30.1.2", "10.42.1.0/24"), node("b", "172.30.1.3", "10.42.2.0/24")
			if test.routed {
				nodeB = node("b", "172.30.2.2", "10.42.2.0/24")
				r := newHost(t, "r")
				cable(t, a, "172.30.1.2/24", r, "172.30.1.1/24")
				cable(t, b, "172.30.2.2/24", r, "172.30.2.1/24")
				r.do(func() {
					if err := ensureForwarding(); err != nil {
						t.Error(err)
					}
				})
				netnstest.IP(t, "-n", a.name, "route", "add", "default", "via", "172.30.1.1")
				netnstest.IP(t, "-n", b.name, "route", "add", "default", "via", "172.30.2.1")
			} else {
				cable(t, a, "172.30.1.2/24", b, "172.30.1.3/24")
			}
			ma := bringUp(t, a, nodeA, nodeA, nodeB)
			mb := bringUp(t, b, nodeB, nodeA, nodeB)

			if from := reaches(t, ma.pod, mb.pod, mb.podIP); from != ma.podIP {
				t.Errorf("pod b saw the connection come from %s, want the pod's own %s", from, ma.podIP)
			}
			reaches(t, a, mb.pod, mb.podIP)
			reaches(t, mb.pod, ma.pod, ma.podIP)
			if !test.routed {
				out := netip.MustParseAddr("172.30.1.3")
				if from := reaches(t, ma.pod, b, out); from != netip.MustParseAddr("172.30.1.2") {
					t.Errorf("traffic that leaves the pods' range came from %s, want the node's address", from)
				}
			}
			a.do(func() {
				if err := Remove(ma.network.cfg.Dir); err != nil {
					t.Error(err)
				}
				if err := Remove(ma.network.cfg.Dir); err != nil {
					t.Errorf("removing twice: %v", err)
				}
				links, err := net.Interfaces()
				if err != nil {
					t.Error(err)
				}
				for _, link := range links {
					if link.Name == bridgeName || link.Name == tunnelName || link.Name == hostLink("pod") {
						t.Errorf("link %s was left behind", link.Name)
					}
				}
				if routes, _ := ownRoutes(); len(routes) != 0 {
					t.Errorf("routes were left behind: %v", routes)
				}
			})
		})
	}
}

// TestAddressIsReachableAtOnceUnderItsNextPod holds a bug: the node went on sending to the MAC of the pod
// that had the address before, for as long as its neighbour entry lived, and no probe of the next pod
// succeeded.
func TestAddressIsReachableAtOnceUnderItsNextPod(t *testing.T) {
	a := newHost(t, "a")
	nodeA := node("a", "172.30.1.2", "10.42.1.0/30") // one address
	m := bringUp(t, a, nodeA, nodeA)
	reaches(t, a, m.pod, m.podIP) // the node knows the pod's MAC now
	next := newHost(t, "next")
	a.do(func() {
		if err := m.network.Teardown(t.Context(), "pod"); err != nil {
			t.Error(err)
		}
		if ip, err := m.network.Setup(t.Context(), "next", next.path()); err != nil || ip != m.podIP {
			t.Errorf("the next pod got %s, %v; want the freed %s", ip, err, m.podIP)
		}
		known, err := netlink.NeighList(0, netlink.FAMILY_V4)
		if err != nil {
			t.Error(err)
		}
		for _, n := range known {
			if n.IP.Equal(m.podIP.AsSlice()) && n.HardwareAddr.String() != macOf(m.podIP).String() {
				t.Errorf("the node believes that %s is at %s, it is at %s", n.IP, n.HardwareAddr, macOf(m.podIP))
			}
		}
	})
	reaches(t, a, next, m.podIP)
}

// TestFlowsOfAGonePodAreForgotten lets a pod and the node exchange UDP, and ends the pod: the kernel's entry for it would be
// the next pod's.
func TestFlowsOfAGonePodAreForgotten(t *testing.T) {
	a := newHost(t, "a")
	nodeA := node("a", "172.30.1.2", "10.42.1.0/24")
	m := bringUp(t, a, nodeA, nodeA)
	flows := func() (found int) {
		all, err := netlink.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
		if err != nil {
			t.Fatal(err)
		}
		for _, flow := range all {
			if flow.Forward.DstIP.Equal(m.podIP.AsSlice()) || flow.Forward.SrcIP.Equal(m.podIP.AsSlice()) {
				found++
			}
		}
		return found
	}
	var there net.PacketConn
	m.pod.do(func() {
		var err error
		if there, err = net.ListenPacket("udp4", netip.AddrPortFrom(m.podIP, 5353).String()); err != nil {
			t.Fatal(err)
		}
	})
	defer there.Close()
	a.do(func() {
		conn, err := net.Dial("udp4", netip.AddrPortFrom(m.podIP, 5353).String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := there.ReadFrom(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if flows() == 0 {
			t.Fatal("the kernel tracks no flow to the pod: this test shows nothing")
		}
		if err := m.network.Teardown(t.Context(), "pod"); err != nil {
			t.Error(err)
		}
		if n := flows(); n != 0 {
			t.Errorf("%d flows of the pod are still known", n)
		}
	})
}

func TestRouteOfGoneNodeIsRemoved(t *testing.T) {
	a, b := newHost(t, "a"), newHost(t, "b")
	cable(t, a, "172.30.1.2/24", b, "172.30.1.3/24")
	nodeA, nodeB := node("a", "172.30.1.2", "10.42.1.0/24"), node("b", "172.30.1.3", "10.42.2.0/24")
	m := bringUp(t, a, nodeA, nodeA, nodeB)
	a.do(func() {
		if routes, err := ownRoutes(); err != nil || len(routes) != 1 {
			t.Fatalf("routes %v, %v: want the one to node b", routes, err)
		}
		if err := m.network.nodes.GetStore().Delete(nodeB); err != nil {
			t.Fatal(err)
		}
		if err := m.network.reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if routes, err := ownRoutes(); err != nil || len(routes) != 0 {
			t.Errorf("routes %v, %v: want none", routes, err)
		}
	})
}

// TestFailedRouteIsTriedAgain runs a network that can't reach a peer, and then makes the way: no node changes meanwhile.
func TestFailedRouteIsTriedAgain(t *testing.T) {
	a, b := newHost(t, "a"), newHost(t, "b")
	cable(t, a, "172.30.1.2/24", b, "172.30.1.3/24")
	cluster := clienttest.New()
	nodeB := node("b", "172.31.9.9", "10.42.2.0/24")
	cluster.Add(node("a", "172.30.1.2", "10.42.1.0/24"), nodeB)
	log := &lines{told: make(chan string, 64)}
	n, err := New(Config{
		Objects: cluster, NodeName: "a", NodeIP: netip.MustParseAddr("172.30.1.2"), ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"),
		Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.do(func() {
			if err := n.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}()
	defer func() { cancel(); <-ended }()
	log.until(t, "route to the pods of node b")
	netnstest.IP(t, "-n", a.name, "route", "add", "default", "via", "172.30.1.3")
	log.until(t, "in step with the cluster again")
	a.do(func() {
		if routes, err := ownRoutes(); err != nil || len(routes) != 1 {
			t.Errorf("routes %v, %v: want the one to node b", routes, err)
		}
	})
}

// lines hands over what is logged.
type lines struct{ told chan string }

func (l *lines) Write(p []byte) (int, error) {
	l.told <- string(p)
	return len(p), nil
}

func (l *lines) until(t *testing.T, word string) {
	t.Helper()
	timeout := time.After(60 * time.Second)
	for {
		select {
		case line := <-l.told:
			if strings.Contains(line, word) {
				return
			}
		case <-timeout:
			t.Fatalf("it was not logged: %s", word)
		}
	}
}

func TestRunBringsTheNetworkUpOnceTheRangeIsKnown(t *testing.T) {
	cluster := clienttest.New()
	n, err := New(Config{Objects: cluster, NodeName: "a", Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestHostPortsLeadToThePod asks a pod by ports of its node, from elsewhere, from the node and from the pod itself, over a
// restart of the agent, until the pod is gone and another has the port.
func TestHostPortsLeadToThePod(t *testing.T) {
	a, b := newHost(t, "a"), newHost(t, "b")
	cable(t, a, "172.30.1.2/24", b, "172.30.1.3/24")
	nodeA := node("a", "172.30.1.2", "10.42.1.0/24")
	m := bringUp(t, a, nodeA, nodeA)
	next := newHost(t, "next")
	serve := func(h host, ip netip.Addr) (port uint16) {
		h.do(func() {
			listener, err := net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { listener.Close() })
			port = netip.MustParseAddrPort(listener.Addr().String()).Port()
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = io.WriteString(conn, h.name)
					conn.Close()
				}
			}()
		})
		return port
	}
	ask := func(from host, address string) (answer string) {
		from.do(func() {
			conn, err := (&net.Dialer{Timeout: 60 * time.Second, FallbackDelay: -1}).Dial("tcp", address)
			if err != nil {
				answer = err.Error()
				return
			}
			defer conn.Close()
			text, err := io.ReadAll(conn)
			if answer = string(text); err != nil {
				answer = err.Error()
			}
		})
		return answer
	}
	expose := func(n *Network, id string, port uint16) {
		t.Helper()
		a.do(func() {
			if err := n.Expose(t.Context(), id, []HostPort{
				{Protocol: "tcp", Port: 8080, PodPort: port}, {Protocol: "tcp", HostIP: netip.MustParseAddr("172.30.1.2"), Port: 8081, PodPort: port},
				{Protocol: "tcp", HostIP: netip.MustParseAddr("10.42.1.1"), Port: 8082, PodPort: port},
			}); err != nil {
				t.Error(err)
			}
		})
	}
	expose(m.network, "pod", serve(m.pod, m.podIP))
	for _, way := range []struct {
		from    host
		address string
		reaches bool
	}{
		{b, "172.30.1.2:8080", true}, {b, "172.30.1.2:8081", true}, {b, "172.30.1.2:8082", false},
		{a, "172.30.1.2:8080", true}, {a, "10.42.1.1:8080", true}, {a, "10.42.1.1:8082", true},
		{m.pod, "172.30.1.2:8080", true},
	} {
		if answer := ask(way.from, way.address); (answer == m.pod.name) != way.reaches {
			t.Errorf("%s → %s: %q, want the pod: %v", way.from.name, way.address, answer, way.reaches)
		}
	}

	// The agent restarts, the pod ends, and the port goes to another pod.
	again, err := New(m.network.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.nodes.GetStore().Add(nodeA); err != nil {
		t.Fatal(err)
	}
	var nextIP netip.Addr
	a.do(func() {
		if err := again.reconcile(t.Context()); err != nil {
			t.Error(err)
		}
		if nextIP, err = again.Setup(t.Context(), "next", next.path()); err != nil {
			t.Error(err)
		}
	})
	if answer := ask(b, "172.30.1.2:8080"); answer != m.pod.name {
		t.Errorf("after the restart: %q, want the pod", answer)
	}
	a.do(func() {
		if err := again.Teardown(t.Context(), "pod"); err != nil {
			t.Error(err)
		}
	})
	if answer := ask(b, "172.30.1.2:8080"); !strings.Contains(answer, "refused") {
		t.Errorf("the port of a pod that is gone answered %q, want a refusal by the node", answer)
	}
	expose(again, "next", serve(next, nextIP))
	if answer := ask(b, "172.30.1.2:8080"); answer != next.name {
		t.Errorf("the port answered %q, want the next pod", answer)
	}
	a.do(func() {
		if err := Remove(again.cfg.Dir); err != nil {
			t.Error(err)
		}
		if out, err := exec.Command("nft", "list", "tables").CombinedOutput(); err != nil || strings.Contains(string(out), hostPortTable) {
			t.Errorf("tables after the removal: %s, %v", out, err)
		}
	})
}
