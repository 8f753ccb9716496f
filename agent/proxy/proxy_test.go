package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/knftables"

	"github.com/ctlplane/ctlplane/agent/network/netnstest"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

func service(name, clusterIP string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: clusterIP, Ports: ports},
	}
}

func slice(service string, port int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: &port}},
		Endpoints:   endpoints,
	}
}

func endpoint(ip string, ready, serving, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{
		Ready: &ready, Serving: &serving, Terminating: &terminating,
	}}
}

var http = corev1.ServicePort{Name: "http", Port: 80}

func TestForwards(t *testing.T) {
	for _, test := range []struct {
		name      string
		service   *corev1.Service
		endpoints []discoveryv1.Endpoint
		want      string
	}{
		{"ready ones only", service("web", "10.43.0.9", http),
			[]discoveryv1.Endpoint{endpoint("10.42.0.3", true, true, false), endpoint("10.42.0.2", true, true, false), endpoint("10.42.0.4", false, false, false)},
			"10.42.0.2:8080 10.42.0.3:8080"},
		{"those that end serve while nobody else does", service("web", "10.43.0.9", http),
			[]discoveryv1.Endpoint{endpoint("10.42.0.3", false, true, true), endpoint("10.42.0.4", false, false, true)},
			"10.42.0.3:8080"},
		{"those that end rest once another is ready", service("web", "10.43.0.9", http),
			[]discoveryv1.Endpoint{endpoint("10.42.0.3", false, true, true), endpoint("10.42.0.4", true, true, false)},
			"10.42.0.4:8080"},
		{"none", service("web", "10.43.0.9", http), nil, ""},
		{"headless", service("web", corev1.ClusterIPNone, http), []discoveryv1.Endpoint{endpoint("10.42.0.3", true, true, false)}, "no forward"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := forwards([]*corev1.Service{test.service}, []*discoveryv1.EndpointSlice{slice("web", 8080, test.endpoints...), slice("other", 1, endpoint("10.42.9.9", true, true, false))}, "node-1")
			if len(got) == 0 {
				if test.want != "no forward" {
					t.Errorf("no forward, want %s", test.want)
				}
				return
			}
			if backends := strings.Trim(fmt.Sprint(got[0].backends), "[]"); backends != test.want {
				t.Errorf("backends %q, want %q", backends, test.want)
			}
		})
	}
}

// inNamespace runs f on a thread inside a network namespace of its own that can route anywhere.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	name := netnstest.New(t, "proxy")
	for _, args := range [][]string{
		{"link", "add", "out", "type", "veth", "peer", "name", "nowhere"},
		{"link", "set", "nowhere", "up"},
		{"link", "set", "out", "up"},
		{"addr", "add", "172.30.9.2/24", "dev", "out"},
		{"route", "add", "default", "via", "172.30.9.1"},
	} {
		netnstest.IP(t, append([]string{"-n", name}, args...)...)
	}
	netnstest.Do(t, name, f)
}

// serve listens at an address of the loopback range and answers each connection with it.
func serve(t *testing.T, address string) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, listener.Addr().String())
			conn.Close()
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String())
}

func ask(address string) (string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

func TestTableForwardsInTheKernel(t *testing.T) {
	inNamespace(t, func() {
		nft, err := knftables.New(knftables.IPv4Family, tableName)
		if err != nil {
			t.Error(err)
			return
		}
		one, two := serve(t, "127.0.1.1:0"), serve(t, "127.0.1.2:0")
		tab := &table{nft: nft}
		web := forward{name: "default/web:http", clusterIP: netip.MustParseAddr("10.43.0.9"), protocol: "tcp", port: 80}
		apply := func(backends ...netip.AddrPort) {
			f := web
			f.backends = backends
			if err := tab.apply(t.Context(), []forward{f}); err != nil {
				t.Error(err)
			}
		}

		apply(one, two)
		seen := map[string]bool{}
		for range 64 { // both are missed in all of 64 tries once in 2^63 runs
			answer, err := ask("10.43.0.9:80")
			if err != nil {
				t.Error(err)
				return
			}
			seen[answer] = true
		}
		if len(seen) != 2 {
			t.Errorf("answers came from %v, want both backends", seen)
		}

		apply(two)
		for range 16 {
			if answer, err := ask("10.43.0.9:80"); err != nil || answer != two.String() {
				t.Errorf("got %q, %v; want %s, the only backend left", answer, err, two)
			}
		}

		apply()
		if _, err := ask("10.43.0.9:80"); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("a service with no endpoint answered %v, want a refusal at once", err)
		}
		apply(one)
		if _, err := ask("10.43.0.9:80"); err != nil {
			t.Errorf("after an endpoint came back: %v", err)
		}

		// Another proxy, after a crash of the first, takes over whatever is there.
		next := &table{nft: nft}
		if err := next.apply(t.Context(), nil); err != nil {
			t.Error(err)
		}
		left := newExisting()
		if err := errors.Join(next.list(t.Context(), "chain", left.chains), next.list(t.Context(), "set", left.sets)); err != nil || len(left.chains)+len(left.sets) > 0 {
			t.Errorf("%v of services that are gone, %v", left, err)
		}
		if err := tab.remove(t.Context()); err != nil {
			t.Error(err)
		}
		if out, err := exec.Command("nft", "list", "tables").CombinedOutput(); err != nil || strings.Contains(string(out), tableName) {
			t.Errorf("tables after remove: %s, %v", out, err)
		}
	})
}

func TestClusterIPPassesFromOneServiceToAnother(t *testing.T) {
	fake := knftables.NewFake(knftables.IPv4Family, tableName)
	tab := &table{nft: fake}
	ip := netip.MustParseAddr("10.43.0.9")
	backend := []netip.AddrPort{netip.MustParseAddrPort("10.42.0.2:8080")}
	for _, name := range []string{"default/a:http", "default/b:http"} {
		f := forward{name: name, clusterIP: ip, protocol: "tcp", port: 80, backends: backend}
		if err := tab.apply(t.Context(), []forward{f}); err != nil {
			t.Fatal(err)
		}
		element := fake.Table.Maps[servicePorts].FindElement(ip.String(), "tcp", "80")
		if element == nil || element.Value[0] != "goto "+f.chain() {
			t.Errorf("element %v, want it to lead to %s", element, f.chain())
		}
	}
	if chains, _ := fake.List(t.Context(), "chain"); slices.ContainsFunc(chains, func(c string) bool {
		return c == (forward{name: "default/a:http", protocol: "tcp"}).chain()
	}) {
		t.Errorf("the chain of the service that is gone is still there: %v", chains)
	}
}

// TestTrafficGoesOnWhileTheTableIsTakenOver connects all the time while one proxy after another finds the table of the
// one before, and while there is no proxy.
func TestTrafficGoesOnWhileTheTableIsTakenOver(t *testing.T) {
	inNamespace(t, func() {
		nft, err := knftables.New(knftables.IPv4Family, tableName)
		if err != nil {
			t.Error(err)
			return
		}
		web := forward{
			name: "default/web:http", clusterIP: netip.MustParseAddr("10.43.0.9"), protocol: "tcp", port: 80,
			backends: []netip.AddrPort{serve(t, "127.0.1.1:0")},
		}
		if err := (&table{nft: nft}).apply(t.Context(), []forward{web}); err != nil {
			t.Error(err)
			return
		}
		ended, asked := make(chan struct{}), make(chan error, 1)
		namespace, err := netns.Get()
		if err != nil {
			t.Error(err)
			return
		}
		defer namespace.Close()
		go func() {
			runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
			err := netns.Set(namespace)
			for err == nil {
				select {
				case <-ended:
					asked <- nil
					return
				default:
					_, err = ask("10.43.0.9:80")
				}
			}
			asked <- err
		}()
		for range 30 {
			if err := (&table{nft: nft}).apply(t.Context(), []forward{web}); err != nil {
				t.Error(err)
			}
		}
		close(ended)
		if err := <-asked; err != nil {
			t.Errorf("a connection through the service failed: %v", err)
		}
	})
}

// TestUDPGoesOnAtTheNextEndpoint sends from one socket all the time while the endpoints change: the kernel knows the flow and
// would send it to the endpoint that is gone for as long as somebody sends.
func TestUDPGoesOnAtTheNextEndpoint(t *testing.T) {
	inNamespace(t, func() {
		nft, err := knftables.New(knftables.IPv4Family, tableName)
		if err != nil {
			t.Error(err)
			return
		}
		echo := func(address string) netip.AddrPort {
			conn, err := net.ListenPacket("udp4", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			go func() {
				for buffer := make([]byte, 8); ; {
					_, from, err := conn.ReadFrom(buffer)
					if err != nil {
						return
					}
					_, _ = conn.WriteTo([]byte(conn.LocalAddr().String()), from)
				}
			}()
			return netip.MustParseAddrPort(conn.LocalAddr().String())
		}
		one, two := echo("127.0.1.1:0"), echo("127.0.1.2:0")
		dns := forward{name: "kube-system/dns:dns", clusterIP: netip.MustParseAddr("10.43.0.10"), protocol: "udp", port: 53}
		other := forward{name: "default/other:dns", clusterIP: netip.MustParseAddr("10.43.0.11"), protocol: "udp", port: 53, backends: []netip.AddrPort{one}}
		tab := &table{nft: nft, forget: forgetFlows}
		ask := func(conn net.Conn) string {
			answer := make([]byte, 64)
			if err := conn.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
				t.Error(err)
			}
			if _, err := conn.Write([]byte("x")); err != nil {
				return err.Error()
			}
			n, err := conn.Read(answer)
			if err != nil {
				return err.Error()
			}
			return string(answer[:n])
		}
		apply := func(tab *table, backends ...netip.AddrPort) {
			dns.backends = backends
			if err := tab.apply(t.Context(), []forward{dns, other}); err != nil {
				t.Error(err)
			}
		}
		apply(tab, one)
		conn, err := net.Dial("udp4", "10.43.0.10:53")
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		bystander, err := net.Dial("udp4", "10.43.0.11:53")
		if err != nil {
			t.Error(err)
			return
		}
		defer bystander.Close()
		if got := ask(conn); got != one.String() {
			t.Errorf("answer from %s, want %s", got, one)
		}
		if got := ask(bystander); got != one.String() {
			t.Errorf("answer from %s, want %s", got, one)
		}
		apply(tab, two)
		if got := ask(conn); got != two.String() {
			t.Errorf("after the endpoint was replaced the answer is %s, want it from %s", got, two)
		}
		apply(&table{nft: nft, forget: forgetFlows}, one) // it changed while no proxy ran
		if got := ask(conn); got != one.String() {
			t.Errorf("after it was replaced without a proxy the answer is %s, want it from %s", got, one)
		}
		if got := ask(bystander); got != one.String() {
			t.Errorf("another service's answer is %s, want it from %s as ever", got, one)
		}
	})
}

// TestTableOfAnotherFormIsMadeAnew starts a proxy on a table in which a map has another type.
func TestTableOfAnotherFormIsMadeAnew(t *testing.T) {
	inNamespace(t, func() {
		nft, err := knftables.New(knftables.IPv4Family, tableName)
		if err != nil {
			t.Error(err)
			return
		}
		tx := nft.NewTransaction()
		tx.Add(&knftables.Table{})
		tx.Add(&knftables.Map{Name: servicePorts, Type: "ipv4_addr : verdict"})
		if err := nft.Run(t.Context(), tx); err != nil {
			t.Error(err)
			return
		}
		web := forward{
			name: "default/web:http", clusterIP: netip.MustParseAddr("10.43.0.9"), protocol: "tcp", port: 80,
			backends: []netip.AddrPort{serve(t, "127.0.1.1:0")},
		}
		tab := &table{nft: nft}
		if err := tab.apply(t.Context(), []forward{web}); err == nil {
			t.Error("the kernel took another type for a map: this test shows nothing")
		}
		if err := tab.apply(t.Context(), []forward{web}); err != nil {
			t.Error(err)
		}
		if _, err := ask("10.43.0.9:80"); err != nil {
			t.Error(err)
		}
	})
}

func TestRulesOutliveTheProxy(t *testing.T) {
	cluster := clienttest.New()
	fake := knftables.NewFake(knftables.IPv4Family, tableName)
	watched := &recorded{Fake: fake, ran: make(chan struct{}, 64)}
	p, err := New(Config{Objects: cluster, NFT: watched, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()

	create := func(obj *corev1.Service) {
		if _, err := cluster.Create(ctx, corev1.SchemeGroupVersion.WithResource("services"), obj.Namespace, "", "", obj, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create(service("web", "10.43.0.9", http))
	for refused := 0; refused == 0; {
		<-watched.ran
		elements, err := fake.ListElements(ctx, "map", noEndpoints)
		if err != nil {
			t.Fatal(err)
		}
		refused = len(elements)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if elements, err := fake.ListElements(t.Context(), "map", noEndpoints); err != nil || len(elements) != 1 {
		t.Errorf("after Run has ended the service has the rules %v, %v; want them as they were", elements, err)
	}
	if err := p.table.remove(t.Context()); err != nil || fake.Table != nil {
		t.Errorf("the table is still there after it was removed: %v", err)
	}
}

// recorded tells when a transaction ran.
type recorded struct {
	*knftables.Fake
	ran chan struct{}
}

func (r *recorded) Run(ctx context.Context, tx *knftables.Transaction) error {
	defer func() { r.ran <- struct{}{} }()
	return r.Fake.Run(ctx, tx)
}
