package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/port"
	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/rest"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
	"github.com/ctlplane/ctlplane/supervise"
)

// closePatience bounds a graceful stop: handing leadership over and ending what runs.
const closePatience = 10 * time.Second

// What a master spends on the store's caches: most writes then find what they replace without a look at
// the disk, which halves their cost on a store of 100,000 keys and more; and a member stays below 512 MB however
// many keys it holds.
const (
	storeCacheBytes    = 64 << 20
	storeCachedHeaders = 1 << 18 // about 25 MB
)

// Master is a running master.
type Master struct {
	cfg     Config
	cluster *raftstore.Cluster
	id      raftstore.Identity
	certs   *certificates
	settled settlement
	clients []boundListener
	monitor []boundListener // for monitoring alone
	api     net.Listener    // nil where there is only the store
}

// Run runs a master until ctx ends, then hands leadership over and stops. It creates, joins or restarts,
// as its data directory and configuration say.
func Run(ctx context.Context, cfg Config) (err error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	supervise.ContainClientGo(cfg.Logger)
	m := &Master{cfg: cfg, settled: settlement{done: make(chan struct{})}}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.open(ctx); err != nil {
		return err
	}
	return m.serve(ctx)
}

// open takes the ports, then starts the store's member: a port that is taken must not be found out after
// others count on this member.
func (m *Master) open(ctx context.Context) (err error) {
	if m.clients, err = bindAll("client", m.cfg.clientListens()); err != nil {
		return err
	}
	if m.monitor, err = bindAll("metrics", m.cfg.MetricsListen); err != nil {
		return err
	}
	if !m.cfg.StoreOnly {
		if m.api, err = raftstore.Listen(m.cfg.APIAddr); err != nil {
			return fmt.Errorf("API port: %w", err)
		}
	}
	var servers []string
	if m.cfg.Join != "" {
		servers = []string{m.cfg.Join}
	}
	config := raftstore.BootstrapConfig{
		DataDir: m.cfg.DataDir, Name: m.cfg.Name, Peers: m.cfg.Peers, Servers: servers, Token: m.cfg.Token,
		PeerListen: m.cfg.PeerAddr, ClientListen: m.cfg.ClientAddr, APIListen: m.cfg.APIAddr,
		PeerListenAlso: m.cfg.PeerListen, SharePort: m.cfg.SharePort, PeerURLs: m.cfg.PeerURLs, ClientURLs: m.cfg.ClientURLs,
		OpenToken: m.cfg.OpenToken, Existing: m.cfg.Existing,
		ClientInsecure: m.cfg.KVInsecure, LeafLife: m.cfg.CertLifetime,
		Member: m.cfg.member(),
		Logger: m.cfg.Logger,
	}
	if m.cluster, err = raftstore.Bootstrap(ctx, config); err != nil {
		return err
	}
	m.id = m.cluster.Member.Identity()
	m.certs, err = m.openCertificates()
	return err
}

// close stops the member last: everything else needs it.
func (m *Master) close() error {
	closeAll(m.clients)
	closeAll(m.monitor)
	if m.api != nil {
		_ = m.api.Close() // closed already where it served
	}
	if m.cluster == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	return m.cluster.Member.Close(ctx)
}

// serve runs all parts until ctx ends or one of them fails.
func (m *Master) serve(ctx context.Context) error {
	metrics, metricsHandler := newMetrics(m.cluster.Member)
	metrics.MustRegister(m.certs.renewer)
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { m.certs.renewer.Run(ctx); return nil })
	parts.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-m.cluster.Member.Failed():
			if err := m.cluster.Member.Err(); errors.Is(err, raftstore.ErrRemoved) {
				return fmt.Errorf("%w (%s)", err, m.cfg.DataDir)
			}
			return fmt.Errorf("the store failed: %w", m.cluster.Member.Err())
		}
	})
	formed := make(chan struct{})
	parts.Go(func() error {
		if err := m.cluster.WaitFormed(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		close(formed)
		return nil
	})
	// serveFormed runs a part that clients use, or that acts for them. One that never had its turn still cleans up.
	serveFormed := func(part func() error) {
		parts.Go(func() error {
			select {
			case <-formed:
			case <-ctx.Done():
			}
			return part()
		})
	}
	var objects *registry.Registry
	var who auth.Authenticator
	if !m.cfg.StoreOnly {
		var err error
		if objects, err = registry.New(m.cluster.Member, registry.Options{ServiceCIDR: m.cfg.ServiceCIDR, Logger: m.cfg.Logger}); err != nil {
			return err
		}
		who = m.authenticator(objects)
		loops := newLoopSet(m.cfg, &m.settled, objects, m.cluster.Member, m.cluster.CA.CertPEM(), metrics)
		handler, closeNodes, err := m.apiHandler(objects, who, metrics, metricsHandler, loops.check())
		if err != nil {
			return err
		}
		defer closeNodes()
		serveFormed(func() error { return m.settle(ctx) })
		parts.Go(func() error { return objects.Run(ctx) })
		parts.Go(func() error { // at once: masters may join by this port, too
			return serveAPI(ctx, m.api, m.certs.server, m.cluster.CA, onceFormed(m.cluster.Forming, handler), m.cluster.JoinServer, m.cfg.Logger)
		})
		serveFormed(func() error {
			lead(ctx, m.cluster.Member.Leadership(), m.cfg.Logger, loops.run)
			return nil
		})
	}
	clients, err := m.newClientPort(objects, who, metrics, metricsHandler)
	if err != nil {
		return err
	}
	serveFormed(func() error { return clients.serve(ctx, m.clients) })
	if len(m.monitor) > 0 {
		parts.Go(func() error { return clients.serveMonitoring(ctx, m.monitor) })
	}
	serveFormed(func() error { return m.announce(ctx, objects, clients.port) })
	return parts.Wait()
}

// authenticator knows callers by certificate and by token.
func (m *Master) authenticator(objects *registry.Registry) auth.Authenticator {
	secrets := client.For[*corev1.Secret](asUser{objects, auth.System("apiserver"), m.cfg.Logger})
	lookup := auth.SecretTokens{Get: func(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
		secret, err := secrets.Get(ctx, namespace, name)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return secret, err
	}}
	return auth.Union{auth.Certificates{Clock: clock.RealClock{}}, auth.Tokens{Lookup: lookup, Clock: clock.RealClock{}}}
}

// apiHandler is the Kubernetes API. The second answer closes what it holds open.
func (m *Master) apiHandler(objects *registry.Registry, who auth.Authenticator, metrics prometheus.Registerer, metricsHandler http.Handler, loops rest.Check) (http.Handler, func(), error) {
	nodes := rest.NewNodeClient(pki.Client(m.certs.apiserver, m.cluster.CA))
	handler, err := rest.NewHandler(rest.Options{
		Registry: objects, Authenticator: who, Nodes: nodes, Metrics: metricsHandler, Registerer: metrics, Logger: m.cfg.Logger,
		ReadyChecks: []rest.Check{{Name: "leader", Check: m.cluster.Member.LinearizableRead}, loops},
	})
	return handler, nodes.Close, err
}

// announce tells that the master is ready, once it answers linearizable reads and knows all objects, and keeps the admin's
// way in until ctx ends.
func (m *Master) announce(ctx context.Context, objects *registry.Registry, clients *port.Port) error {
	for m.cluster.Member.LinearizableRead(ctx) != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond): // no leader yet
		}
	}
	if objects != nil {
		if objects.WaitReady(ctx) != nil {
			return nil // told to end
		}
		select {
		case <-m.settled.done: // from now on nodes can join
		case <-ctx.Done():
			return nil
		}
	}
	ready := Ready{
		Name: m.id.Name, API: "https://" + m.id.APIAddress, APIAddress: m.id.APIAddress,
		Client: m.clientURL(), Peer: m.id.PeerAddress, Dial: clients.Dial,
	}
	if m.cluster.Created && m.cfg.Token == "" {
		ready.NewToken = m.cluster.Secret.Reveal()
	}
	if m.cfg.StoreOnly {
		m.cfg.Ready(ready)
		return nil
	}
	access := m.adminAccess()
	if err := access.write(); err != nil {
		return err
	}
	ready.Kubeconfig = access.path
	m.cfg.Ready(ready)
	access.keep(ctx)
	return nil
}

// clientEndpoints are all masters' client ports, this one's first.
func (m *Master) clientEndpoints() []string {
	endpoints := []string{m.id.ClientAddress}
	for _, record := range m.cluster.Member.MemberRecords() {
		for _, url := range record.ClientURLs {
			if address := trimScheme(url); address != m.id.ClientAddress {
				endpoints = append(endpoints, address)
			}
		}
	}
	return endpoints
}

// clientURL is where clients are told to find this master.
func (m *Master) clientURL() string {
	switch {
	case len(m.id.ClientURLs) > 0:
		return m.id.ClientURLs[0]
	case m.cfg.KVInsecure:
		return "http://" + m.id.ClientAddress
	}
	return "https://" + m.id.ClientAddress
}

func trimScheme(url string) string {
	_, address, found := strings.Cut(url, "://")
	if !found {
		return url
	}
	return address
}
