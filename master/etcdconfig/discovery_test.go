package etcdconfig

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/ctlplane/ctlplane/bench/freeport"
	"github.com/ctlplane/ctlplane/master"
)

// records are what a name server knows: names with a dot at the end.
type records struct {
	srv  map[string][]dnsmessage.SRVResource
	host map[string][4]byte
}

// resolver asks a name server that answers with the records until the test ends.
func (r records) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		buffer := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var question dnsmessage.Message
			if question.Unpack(buffer[:n]) == nil {
				if answer, err := r.answer(question).Pack(); err == nil {
					_, _ = conn.WriteTo(answer, from)
				}
			}
		}
	})
	t.Cleanup(func() { _ = conn.Close(); serving.Wait() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (r records) answer(m dnsmessage.Message) *dnsmessage.Message {
	m.Response, m.Authoritative, m.RCode = true, true, dnsmessage.RCodeNameError
	m.Additionals = nil
	for _, q := range m.Questions {
		header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, Type: q.Type, TTL: 1}
		if host, known := r.host[strings.ToLower(q.Name.String())]; known {
			if m.RCode = dnsmessage.RCodeSuccess; q.Type == dnsmessage.TypeA {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: host}})
			}
		}
		for _, srv := range r.srv[q.Name.String()] {
			if m.RCode = dnsmessage.RCodeSuccess; q.Type == dnsmessage.TypeSRV {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &srv})
			}
		}
	}
	return &m
}

func srv(host string, port uint16) dnsmessage.SRVResource {
	return dnsmessage.SRVResource{Target: dnsmessage.MustNewName(host), Port: port}
}

// threeInDNS are three members in plain text, and one of another cluster over TLS.
var threeInDNS = records{
	srv: map[string][]dnsmessage.SRVResource{
		"_etcd-server._tcp.example.com.":         {srv("c.example.com.", 2380), srv("a.example.com.", 2380), srv("b.example.com.", 2381)},
		"_etcd-server-ssl-b._tcp.example.com.":   {srv("a.example.com.", 2380)},
		"_etcd-server-ssl._tcp.tls.example.com.": {srv("a.example.com.", 2380)},
	},
	host: map[string][4]byte{"a.example.com.": {10, 0, 0, 1}, "b.example.com.": {10, 0, 0, 2}, "c.example.com.": {10, 0, 0, 3}},
}

// discover makes a configuration of flags with a name server.
func discover(t *testing.T, resolver *net.Resolver, args ...string) (master.Config, error) {
	t.Helper()
	s, err := Parse(append([]string{"--data-dir", filepath.Join(t.TempDir(), "data")}, args...), nil)
	if err != nil {
		return master.Config{}, err
	}
	if resolver != nil {
		s.resolver = resolver
	}
	return s.Master(t.Context(), slog.New(slog.DiscardHandler))
}

// TestDiscoveryBySRV has two members find three by DNS, and agree on who begins the cluster and on what they share.
func TestDiscoveryBySRV(t *testing.T) {
	resolver := threeInDNS.resolver(t)
	a, err := discover(t, resolver, "--name=one", "--discovery-srv=example.com", "--initial-advertise-peer-urls=http://10.0.0.1:2380")
	if err != nil {
		t.Fatal(err)
	}
	b, err := discover(t, resolver, "--name=two", "--discovery-srv=example.com", "--initial-advertise-peer-urls=http://b.example.com:2381")
	if err != nil {
		t.Fatal(err)
	}
	addresses := func(c master.Config) (list []string) {
		for _, peer := range c.Peers {
			list = append(list, peer.Address)
		}
		return list
	}
	want := []string{"a.example.com:2380", "b.example.com:2381", "c.example.com:2380"}
	if !slices.Equal(addresses(a), want) || !slices.Equal(addresses(b), want) {
		t.Errorf("found %v and %v, want %v", a.Peers, b.Peers, want)
	}
	if a.Token == "" || a.Token != b.Token || !a.OpenToken {
		t.Errorf("the tokens are %q and %q", a.Token, b.Token)
	}
	if a.Peers[0].Name != "one" || b.Peers[1].Name != "two" || !slices.Equal(b.PeerURLs, []string{"http://b.example.com:2381"}) {
		t.Errorf("the members are %v at %v, and %v at %v", a.Peers, a.PeerURLs, b.Peers, b.PeerURLs)
	}
	if alone, err := discover(t, resolver, "--discovery-srv=example.com", "--discovery-srv-name=b", "--peer-auto-tls",
		"--listen-peer-urls=https://10.0.0.1:2380", "--initial-advertise-peer-urls=https://10.0.0.1:2380"); err != nil || alone.Peers != nil {
		t.Errorf("one member, over TLS: %v, %v", alone.Peers, err)
	}
}

func TestDiscoveryRefuses(t *testing.T) {
	resolver := threeInDNS.resolver(t)
	for want, args := range map[string][]string{
		"does not name this member": {"--discovery-srv=example.com", "--initial-advertise-peer-urls=http://10.0.0.9:2380"},
		"there must be records":     {"--discovery-srv=example.org", "--initial-advertise-peer-urls=http://10.0.0.1:2380"},
		"make them the same":        {"--discovery-srv=tls.example.com", "--initial-advertise-peer-urls=http://10.0.0.1:2380"},
		"in more than one way":      {"--discovery-srv=example.com", "--initial-cluster=default=http://10.0.0.1:2380"},
		"go together":               {"--discovery-token=x"},
		"for members that begin":    {"--discovery-token=x", "--discovery-endpoints=http://10.0.0.1:2379", "--initial-cluster-state=existing"},
		"goes with --discovery-srv": {"--discovery-srv-name=x"},
		"choose exit":               {"--discovery-fallback=proxy"},
	} {
		if _, err := discover(t, resolver, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", args, err, want)
		}
	}
}

// TestDiscoveryByService has members meet in another store, which is of this program here.
func TestDiscoveryByService(t *testing.T) {
	addresses, err := freeport.Addresses(2)
	if err != nil {
		t.Fatal(err)
	}
	service := "http://" + addresses[0]
	config, _, err := configure(t, "--listen-client-urls="+service, "--listen-peer-urls=http://"+addresses[1], "--initial-advertise-peer-urls=http://"+addresses[1])
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	config.Ready = func(master.Ready) { close(ready) }
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- master.Run(ctx, config) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{service}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	member := func(i int) (master.Config, error) {
		url := fmt.Sprintf("http://10.0.0.%d:2380", i)
		return discover(t, nil, fmt.Sprint("--name=m", i), "--discovery-token=t", "--discovery-endpoints="+service, "--initial-advertise-peer-urls="+url)
	}
	if _, err := member(1); err == nil || !strings.Contains(err.Error(), "doesn't say how many") {
		t.Errorf("without a size: %v", err)
	}
	if _, err := client.Put(t.Context(), "/_etcd/registry/t/_config/size", "3"); err != nil {
		t.Fatal(err)
	}
	configs, errs := make([]master.Config, 4), make([]error, 4)
	var all sync.WaitGroup
	for i := 1; i <= 3; i++ {
		all.Go(func() { configs[i], errs[i] = member(i) })
	}
	all.Wait()
	for i := 1; i <= 3; i++ {
		if errs[i] != nil || len(configs[i].Peers) != 3 || configs[i].Token != configs[1].Token || configs[i].Peers[2].Address != "10.0.0.3:2380" {
			t.Errorf("member %d: %v, %v", i, configs[i].Peers, errs[i])
		}
	}
	if again, err := member(2); err != nil || len(again.Peers) != 3 {
		t.Errorf("started again: %v, %v", again.Peers, err)
	}
	if _, err := member(4); err == nil || !strings.Contains(err.Error(), "has its 3 members") {
		t.Errorf("one too many: %v", err)
	}
}
