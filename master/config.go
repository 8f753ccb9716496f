// Package master puts one master process together: the store's member, the API server and, while it
// leads, the scheduler and the controllers.
package master

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/port"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
)

// The ports that a master listens on unless it is told otherwise, beside raftstore.DefaultPeerPort.
const (
	DefaultClientPort = "2379"
	DefaultAPIPort    = "6443"
)

// Config says how a master runs. Name, addresses and CIDRs have defaults.
type Config struct {
	Name    string
	DataDir string
	// Peers is the ordered list of all masters; empty for a cluster of one.
	Peers []raftstore.Peer
	// Join is the address of any master of the cluster that this one joins; then Peers is empty.
	Join string
	// Token is what the masters share, or a token for masters. Empty: the first master makes one.
	Token string
	// PeerAddr, ClientAddr and APIAddr are where this master listens and is reached, host:port each.
	PeerAddr, ClientAddr, APIAddr string
	// KVInsecure opens the client port in plain text and without authentication.
	KVInsecure bool
	// ClientTLS, when set, is the client port's, in place of the cluster's own certificates: every caller
	// that it lets in may read and write everything, unless the store's own users are enabled.
	ClientTLS *tls.Config
	// ClientListen are the addresses where clients are served, in place of ClientAddr. ClientURLs are where they
	// reach this master; by default where it listens.
	ClientListen []Listen
	ClientURLs   []string
	// MetricsListen are further addresses for /metrics and /health alone.
	MetricsListen []Listen
	// HTTP is what is served over HTTP on the client port, beside the JSON gateway.
	HTTP HTTPConfig
	// PeerListen are further addresses of the peer port, beside PeerAddr. PeerURLs are where the other masters
	// reach this one, the first of them by Raft; by default PeerAddr, with https.
	PeerListen, PeerURLs []string
	// PeerSecurity, when set, is how the masters prove to each other who they are, in place of the cluster's own CA.
	PeerSecurity *pki.PeerSecurity
	// OpenToken says that Token can be guessed by who knows how the masters are started, and is none to hold
	// against a restart: see raftstore.BootstrapConfig.
	OpenToken bool
	// Existing says that this master was added to the cluster of Peers, which exists: it creates none.
	Existing bool
	// SharePort lets other processes have the peer port, too.
	SharePort bool
	// Member, KV and ClientServer are settings of the store's member, of etcd's services and of the gRPC server of
	// the client port. What the master knows better, it sets.
	Member       raftstore.Config
	KV           etcdv3.Options
	ClientServer etcdv3.ServerConfig
	// LogStore is wal or boltdb; empty for the default.
	LogStore string
	// StoreOnly leaves out everything but the store: `ctlplane etcd`.
	StoreOnly bool

	// ClusterCIDR, ServiceCIDR and NodeRangeBits are what the cluster begins with, if it does so by this master. Without a
	// ClusterCIDR or NodeRangeBits it has the cluster's, or as a first one's the defaults; what is given must be the cluster's.
	ClusterCIDR, ServiceCIDR netip.Prefix
	NodeRangeBits            int
	// CertLifetime is how long the certificates live that this master issues, its own and those of machines that join by
	// it; 0: a year.
	CertLifetime time.Duration
	// NodeMonitorGrace is how long a node may be silent before it is not ready; PodEvictionAfter how
	// long it may be not ready before its pods are replaced.
	NodeMonitorGrace, PodEvictionAfter time.Duration

	Logger *slog.Logger
	// Ready is called once the master serves.
	Ready func(Ready)
}

// Listen is one address that a port is served on.
type Listen struct {
	Network string // tcp or unix
	Address string // host:port, or a path
	TLS     bool
	Plain   bool      // plain text as well as TLS
	Kind    port.Kind // what may be spoken; metrics are HTTP in any case
	Shared  bool      // other processes may have the port, too
}

// HTTPConfig says what the client port serves over HTTP. The zero value is fit for use.
type HTTPConfig struct {
	// CORS are the origins whose pages may call; HostWhitelist the hosts that a plain-text port may be called by.
	// Empty, or "*": all.
	CORS, HostWhitelist []string
	// Pprof serves /debug/pprof/; NoGateway leaves out the JSON gateway.
	Pprof, NoGateway bool
	// ExtensiveMetrics also measures how long calls take.
	ExtensiveMetrics bool
}

// Ready is what a master tells when it serves.
type Ready struct {
	Name       string
	API        string // URL
	APIAddress string // host:port
	Client     string // URL
	Peer       string // host:port
	Kubeconfig string // path
	// NewToken is the secret that this master made because it was given none; empty otherwise.
	NewToken string
	// Dial connects to the client port within the process, past its listeners. Whoever calls it answers for who may call.
	Dial func(context.Context) (net.Conn, error)
}

func (c *Config) setDefaults() {
	host, _ := pki.PeerHost(c.PeerAddr) // a malformed one is refused where it is listened on
	if c.ClientAddr == "" {
		c.ClientAddr = net.JoinHostPort(host, DefaultClientPort)
	}
	if c.APIAddr == "" && !c.StoreOnly {
		c.APIAddr = net.JoinHostPort(host, DefaultAPIPort)
	}
	if !c.ServiceCIDR.IsValid() {
		c.ServiceCIDR = defaultServiceCIDR
	}
	if c.CertLifetime == 0 {
		c.CertLifetime = pki.DefaultLeafLife
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Ready == nil {
		c.Ready = func(Ready) {}
	}
}

func (c *Config) validate() error {
	if c.DataDir == "" {
		return errors.New("a master needs a data directory")
	}
	if len(c.Peers) > 0 && c.Join != "" {
		return errors.New("a master is started with the list of all peers, or joins a cluster by one of its masters: not both")
	}
	if err := pki.CheckLeafLife(c.CertLifetime); err != nil {
		return err
	}
	if c.Token != "" {
		if _, err := pki.ParseToken(c.Token); err != nil {
			return err
		}
	}
	if store := c.member().LogStore; store != "" {
		if err := raftstore.CheckLogStore(store); err != nil {
			return err
		}
	}
	for what, cidr := range map[string]netip.Prefix{"cluster": c.ClusterCIDR, "service": c.ServiceCIDR} {
		if cidr.IsValid() && !cidr.Addr().Is4() {
			return fmt.Errorf("the %s CIDR %s is not an IPv4 range", what, cidr)
		}
	}
	_, err := c.begin(false)
	return err
}

// member are the settings of the store's member, with what a master has of its own.
func (c *Config) member() raftstore.Config {
	member := c.Member
	member.PeerSecurity = c.PeerSecurity
	if c.LogStore != "" {
		member.LogStore = c.LogStore
	}
	if member.Store.CacheBytes == 0 {
		member.Store.CacheBytes = storeCacheBytes
	}
	if member.Store.CachedHeaders == 0 {
		member.Store.CachedHeaders = storeCachedHeaders
	}
	return member
}
