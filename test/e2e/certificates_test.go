package e2e

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/dev"
)

// A longer run: go test ./test/e2e -run TestCertificatesAreRenewedUnderLoad -cert-life 2m -cert-for 10m -timeout 30m
var (
	certLife = flag.Duration("cert-life", 20*time.Second, "how long certificates live in the test of their renewal")
	certFor  = flag.Duration("cert-for", 0, "how long that test loads the cluster at least; it goes on until each certificate was renewed three times")
)

// TestCertificatesAreRenewedUnderLoad runs a cluster whose certificates live shorter than the test, under kubectl, watches,
// clients of the store and traffic to pods. No request may fail and no watch may end. Afterwards everything is
// restarted, one process after the other: nobody may hold on to a certificate that has ended.
func TestCertificatesAreRenewedUnderLoad(t *testing.T) {
	c := start(t, 3, 2, "--cert-lifetime", certLife.String())
	k := kubectl(t, c.Kubeconfig())
	k.run("apply", "-f", example)
	k.run("rollout", "status", "deployment/web", "--timeout=60s")

	renewals := watchRenewals(t, c)
	load := newLoad(t)
	load.kubectl(c)
	load.store(c)
	load.objects(c)
	load.pods(c)
	enough := time.After(*certFor)
	deadline := time.After(max(*certFor, 3**certLife) + 2*patience)
	tick := time.NewTicker(time.Second / 4)
	defer tick.Stop()
	for waited := false; !waited || !renewals.all(3); {
		select {
		case <-enough:
			waited = true
		case <-tick.C:
			renewals.look()
		case <-load.failed:
			deadline = nil
			waited, enough = true, nil
			renewals = nil
		case <-deadline:
			t.Fatalf("renewals: %v; want 3 of each", renewals)
		}
		if renewals == nil {
			break
		}
	}
	load.stop()
	if renewals == nil {
		t.FailNow()
	}
	t.Logf("certificates of %v, %v; renewals: %v", *certLife, load, renewals)

	for _, m := range c.Masters {
		m.Terminate()
		if err := c.StartMaster(m); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.Nodes {
		n.Terminate()
		if err := c.StartNode(n); err != nil {
			t.Fatal(err)
		}
	}
	k.run("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
	contains(t, k.run("logs", podNames(k)[0]), "serv")
}

// renewals counts, for each of a cluster's certificates, how often it was replaced, and holds what is served against it.
type renewals struct {
	t      *testing.T
	files  []string
	serial map[string]string
	count  map[string]int
}

func watchRenewals(t *testing.T, c *dev.Cluster) *renewals {
	r := &renewals{t: t, serial: map[string]string{}, count: map[string]int{}}
	for _, m := range c.Masters {
		for _, name := range []string{"peer", "server", "apiserver", "admin"} {
			r.files = append(r.files, filepath.Join(m.DataDir, "pki", name+".pem"))
		}
	}
	for _, n := range c.Nodes {
		for _, name := range []string{"client", "serving"} {
			r.files = append(r.files, filepath.Join(n.DataDir, "pki", name+".pem"))
		}
	}
	r.look()
	return r
}

func (r *renewals) look() {
	for _, path := range r.files {
		pair, err := tls.LoadX509KeyPair(path, path)
		if err != nil {
			r.t.Errorf("%s is not whole: %v", path, err)
			continue
		}
		serial := pair.Leaf.SerialNumber.String()
		if before, known := r.serial[path]; known && before != serial {
			r.count[path]++
		}
		r.serial[path] = serial
	}
}

func (r *renewals) all(n int) bool {
	for _, path := range r.files {
		if r.count[path] < n {
			return false
		}
	}
	return true
}

func (r *renewals) String() string {
	if r == nil {
		return "none"
	}
	var parts []string
	for _, path := range r.files {
		machine := filepath.Base(filepath.Dir(filepath.Dir(path)))
		parts = append(parts, fmt.Sprintf("%s/%s %d", machine, strings.TrimSuffix(filepath.Base(path), ".pem"), r.count[path]))
	}
	return strings.Join(parts, ", ")
}

// load is what users of a cluster do all the time. The first failure of each ends it and fails the test.
type load struct {
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup
	failed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	count  map[string]int
}

func newLoad(t *testing.T) *load {
	l := &load{t: t, failed: make(chan struct{}), count: map[string]int{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.cancel()
	l.all.Wait()
}

func (l *load) done(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count[what]++
}

func (l *load) fail(format string, args ...any) {
	if l.ctx.Err() == nil {
		l.t.Errorf(format, args...)
		l.once.Do(func() { close(l.failed) })
	}
}

func (l *load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprint("requests and events ", l.count)
}

// repeat does something, with a pause after it, until the load ends or it fails.
func (l *load) repeat(what string, pause time.Duration, f func(i int) error) {
	l.all.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for i := 0; ; i++ {
			if err := f(i); err != nil {
				l.fail("%s, after %d that did not fail: %v", what, i, err)
				return
			}
			l.done(what)
			select {
			case <-l.ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

// kubectl runs commands against each master's own kubeconfig, among them logs, for which the API server calls the node; and
// a watch that goes on all the time.
func (l *load) kubectl(c *dev.Cluster) {
	k := kubectl(l.t, c.Kubeconfig())
	pod := podNames(k)[0]
	commands := [][]string{
		{"get", "nodes"}, {"logs", "--tail=1", pod}, {"get", "pods", "-A"},
		{"annotate", "--overwrite", "pod", pod, "round=x"},
	}
	l.repeat("kubectl", time.Second/2, func(i int) error {
		shell := kubectl(l.t, filepath.Join(c.Masters[i%len(c.Masters)].DataDir, "admin.kubeconfig"))
		command := commands[i/len(c.Masters)%len(commands)]
		out, err := shell.try("", append(command, "--request-timeout=30s")...)
		if err == nil && command[1] == "nodes" && strings.Contains(out, "NotReady") {
			err = fmt.Errorf("a node is not ready:\n%s", out)
		}
		return err
	})
	l.repeat("kubectl annotate", time.Second, func(i int) error {
		_, err := k.try("", "annotate", "--overwrite", "pod", pod, fmt.Sprintf("second=%d", i))
		return err
	})
	watched := k.follow("get", "pods", "-w", "-o", "name")
	l.all.Go(func() {
		<-l.ctx.Done()
		_ = watched.command.Process.Kill()
	})
	l.all.Go(func() {
		for range watched.lines {
			l.done("kubectl watch")
		}
		l.fail("kubectl's watch ended: %v", watched.command.Wait())
	})
}

// store writes and reads keys over connections of each master, and watches them.
func (l *load) store(c *dev.Cluster) {
	for i, m := range c.Masters {
		config, err := client.OpenKubeconfig(filepath.Join(m.DataDir, "admin.kubeconfig"))
		if err != nil {
			l.t.Fatal(err)
		}
		config.Endpoints = config.Endpoints[:1]
		conn, err := client.Connect(l.ctx, config)
		if err != nil {
			l.t.Fatal(err)
		}
		l.t.Cleanup(func() { conn.Close() })
		prefix := fmt.Sprintf("load/%d/", i)
		events := conn.KV().Watch(l.ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(1))
		l.all.Go(func() {
			next := 0
			for answer := range events {
				if err := answer.Err(); err != nil {
					l.fail("watch of the store: %v", err)
					return
				}
				for _, event := range answer.Events {
					if string(event.Kv.Value) != fmt.Sprint(next) {
						l.fail("the watch of %s shows %s, want %d", prefix, event.Kv.Value, next)
						return
					}
					next++
					l.done("store watch")
				}
			}
			l.fail("the watch of the store ended")
		})
		l.repeat("store", time.Second/20, func(i int) error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if _, err := conn.KV().Put(ctx, prefix+"key", fmt.Sprint(i)); err != nil {
				return err
			}
			got, err := conn.KV().Get(ctx, prefix+"key")
			if err == nil && (len(got.Kvs) != 1 || string(got.Kvs[0].Value) != fmt.Sprint(i)) {
				err = fmt.Errorf("read %v after %d was written", got.Kvs, i)
			}
			return err
		})
	}
}

// objects writes and reads objects with the client library, and watches them.
func (l *load) objects(c *dev.Cluster) {
	config, err := client.OpenKubeconfig(c.Kubeconfig())
	if err != nil {
		l.t.Fatal(err)
	}
	conn, err := client.Connect(l.ctx, config)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	maps := client.For[*corev1.ConfigMap](conn.Objects())
	created, err := maps.Create(l.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "load"}})
	if err != nil {
		l.t.Fatal(err)
	}
	events, err := maps.Watch(l.ctx, "default", metav1.ListOptions{ResourceVersion: created.ResourceVersion})
	if err != nil {
		l.t.Fatal(err)
	}
	l.all.Go(func() {
		for event := range events.ResultChan() {
			if _, ok := event.Object.(*corev1.ConfigMap); !ok {
				l.fail("the watch of objects shows %T %v", event.Object, event.Object)
			}
			l.done("object watch")
		}
		l.fail("the watch of objects ended")
	})
	l.repeat("objects", time.Second/20, func(i int) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := maps.Modify(ctx, "default", "load", func(m *corev1.ConfigMap) error {
			m.Data = map[string]string{"round": fmt.Sprint(i)}
			return nil
		})
		return err
	})
}

// pods asks the demo's service from inside each node.
func (l *load) pods(c *dev.Cluster) {
	k := kubectl(l.t, c.Kubeconfig())
	address := strings.TrimSpace(k.run("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
	for _, n := range c.Nodes {
		l.repeat("traffic", time.Second/5, func(int) error {
			out, err := exec.Command("ip", "netns", "exec", n.Namespace, "curl", "-sSf", "--max-time", "10", "http://"+address).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
}

// TestServedCertificatesAreTheRenewedOnes looks at what masters and nodes show on new connections, without load.
func TestServedCertificatesAreTheRenewedOnes(t *testing.T) {
	c := start(t, 1, 1, "--cert-lifetime", "10s")
	m := c.Masters[0]
	served := func(address string) *big.Int {
		config, err := client.OpenKubeconfig(filepath.Join(m.DataDir, "admin.kubeconfig"))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := tls.Dial("tcp", address, config.TLS)
		if err != nil {
			return nil // between two certificates of this test's own
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber
	}
	stored := func(path string) *big.Int {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(content)
		pair, err := tls.X509KeyPair(content, content)
		if err != nil || block == nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber
	}
	node := strings.Fields(kubectl(t, c.Kubeconfig()).run("get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`))[0]
	for address, path := range map[string]string{
		strings.TrimPrefix(m.Access.Server, "https://"): filepath.Join(m.DataDir, "pki/server.pem"),
		m.Access.Endpoints[0]:                           filepath.Join(m.DataDir, "pki/server.pem"),
		node + ":10250":                                 filepath.Join(c.Nodes[0].DataDir, "pki/serving.pem"),
	} {
		first := stored(path)
		eventually(t, address+" to serve with a renewed certificate", func() bool {
			now := served(address)
			return now != nil && now.Cmp(first) != 0 && now.Cmp(stored(path)) == 0
		})
	}
}
