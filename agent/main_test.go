package agent_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ctlplane/ctlplane/agent"
	"github.com/ctlplane/ctlplane/agent/demo"
	"github.com/ctlplane/ctlplane/agent/embedded"
	"github.com/ctlplane/ctlplane/agent/network"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

// The test binary is also the program of the image that the tests' pods run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case demo.Command:
			os.Exit(demo.Main())
		case "work":
			os.Exit(work(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// link is a network of one machine for tests: a veth pair a pod, an address each from a range of the test's own.
type link struct {
	mu   sync.Mutex
	next netip.Addr
	ips  map[string]netip.Addr
}

func newLink() *link {
	return &link{next: netip.MustParseAddr("10.213.0.1"), ips: map[string]netip.Addr{}}
}

func (l *link) Run(ctx context.Context) error                 { <-ctx.Done(); return nil }
func (l *link) Retain(context.Context, map[string]bool) error { return nil }
func (l *link) Leads(netip.Addr) bool                         { return true }

func (l *link) Setup(_ context.Context, id, path string) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = l.next.Next()
	ip := l.next
	l.ips[id] = ip
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return ip, err
	}
	defer ns.Close()
	host := "ct" + id[:8]
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns))}
	if err := netlink.LinkAdd(veth); err != nil {
		return ip, err
	}
	outside, err := netlink.LinkByName(host)
	if err != nil {
		return ip, err
	}
	if err := netlink.LinkSetUp(outside); err != nil {
		return ip, err
	}
	gateway := &net.IPNet{IP: net.IPv4(169, 254, 99, 1), Mask: net.CIDRMask(32, 32)}
	if err := netlink.AddrAdd(outside, &netlink.Addr{IPNet: gateway}); err != nil {
		return ip, err
	}
	route := &netlink.Route{LinkIndex: outside.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(32, 32)}}
	if err := netlink.RouteAdd(route); err != nil {
		return ip, err
	}
	return ip, inside(ns, ip, gateway)
}

func inside(ns netns.NsHandle, ip netip.Addr, gateway *net.IPNet) error {
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer handle.Close()
	eth, err := handle.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := handle.LinkSetUp(eth); err != nil {
		return err
	}
	own := &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(32, 32)}
	if err := handle.AddrAdd(eth, &netlink.Addr{IPNet: own}); err != nil {
		return err
	}
	return handle.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: gateway})
}

func (l *link) Expose(context.Context, string, []network.HostPort) error { return nil }

func (l *link) Teardown(_ context.Context, id string) error {
	if outside, err := netlink.LinkByName("ct" + id[:8]); err == nil {
		return netlink.LinkDel(outside)
	}
	return nil
}

// testNode is an agent on a cluster in memory, with real containers.
type testNode struct {
	t       *testing.T
	dir     string
	cluster *clienttest.Cluster
	network *link
	tls     *testTLS
	log     *testLog
	stop    func()
	addr    string
}

func startNode(t *testing.T) *testNode {
	t.Helper()
	// Users may have their data directory behind a link.
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Symlink(t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	n := &testNode{t: t, dir: dir, cluster: clienttest.New(), network: newLink(), tls: newTLS(t), log: &testLog{t: t}}
	for _, name := range []string{"default", "kube-node-lease"} {
		n.cluster.Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	n.start()
	t.Cleanup(func() {
		n.stop()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := embedded.DestroyDir(ctx, n.dir+"/runtime", nil); err != nil {
			t.Error(err)
		}
		if err := agent.CleanDir(n.dir); err != nil {
			t.Error(err)
		}
	})
	return n
}

// start runs an agent on the node's directory; stop ends it and leaves the containers.
func (n *testNode) start() {
	n.t.Helper()
	log := slog.New(slog.NewTextHandler(n.log, nil))
	rt, err := embedded.New(embedded.Config{Dir: n.dir + "/runtime", Network: n.network, Logger: log})
	if err != nil {
		n.t.Fatal(err)
	}
	a, err := agent.New(agent.Config{
		NodeName: "node-1", NodeIP: netip.MustParseAddr("127.0.0.1"), DataDir: n.dir, Objects: n.cluster, Runtime: rt, Images: rt,
		Network: n.network, ServingTLS: n.tls.server, ListenAddr: "127.0.0.1:0", HeartbeatInterval: time.Second, Logger: log,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.addr = a.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	n.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				n.t.Error("agent:", err)
			}
			if err := rt.Close(context.Background()); err != nil {
				n.t.Error(err)
			}
		})
	}
}

// testLog shows what an agent logs with the test's own output, and keeps it.
type testLog struct {
	t *testing.T

	mu   sync.Mutex
	text strings.Builder
}

func (l *testLog) Write(p []byte) (int, error) {
	l.t.Log(string(p[:len(p)-1]))
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all that was logged.
func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// pod binds a pod to the node.
func (n *testNode) pod(name string, containers ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: "node-1", RestartPolicy: corev1.RestartPolicyAlways, Containers: containers},
	}
}

func (n *testNode) create(pod *corev1.Pod) {
	n.t.Helper()
	if _, err := client.For[*corev1.Pod](n.cluster).Create(n.t.Context(), pod); err != nil {
		n.t.Fatal(err)
	}
}

// wait waits until the pod is as ok wants it, nil when it is gone.
func (n *testNode) wait(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 60*time.Second)
	defer cancel()
	var last *corev1.Pod
	err := n.cluster.WaitUntil(ctx, func() bool {
		pod, err := client.For[*corev1.Pod](n.cluster).Get(ctx, "default", name)
		if err != nil {
			pod = nil
		}
		last = pod
		return ok(pod)
	})
	if err != nil {
		n.t.Fatalf("pod %s is not %s: %+v", name, what, last)
	}
	return last
}

func ready(pod *corev1.Pod) bool {
	if pod == nil {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func demoContainer() corev1.Container {
	return corev1.Container{
		Name: "main", Image: "ctlplane.local/demo:v1",
		ReadinessProbe: &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}},
			PeriodSeconds: 1,
		},
	}
}

func workContainer(args ...string) corev1.Container {
	return corev1.Container{Name: "main", Image: "ctlplane.local/demo:v1", Command: append([]string{demo.Program, "work"}, args...)}
}

// testTLS is a CA with a server, an administrator and somebody else.
type testTLS struct {
	server       *tls.Config
	admin, other *tls.Config
}

func newTLS(t *testing.T) *testTLS {
	t.Helper()
	caKey := newKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	if ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	leaf := func(org string) tls.Certificate {
		key := newKey(t)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf", Organization: []string{org}}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	return &testTLS{
		server: &tls.Config{Certificates: []tls.Certificate{leaf("system:nodes")}, ClientCAs: pool},
		admin:  &tls.Config{Certificates: []tls.Certificate{leaf("system:masters")}, RootCAs: pool},
		other:  &tls.Config{Certificates: []tls.Certificate{leaf("system:nodes")}, RootCAs: pool},
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
