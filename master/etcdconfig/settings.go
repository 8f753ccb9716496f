package etcdconfig

import (
	"net"
	"time"
)

// Settings are what etcd's flags say, as far as it means something here.
type Settings struct {
	// Help and Version are set where that was asked for, and nothing else is to be done then.
	Help, Version bool
	ConfigFile    string

	Name, DataDir, WALDir               string
	ListenPeer, ListenClient            URLs
	ListenClientHTTP, ListenMetrics     URLs
	AdvertisePeer, AdvertiseClient      URLs
	HeartbeatMillis, ElectionMillis     uint
	SnapshotCount                       uint64
	QuotaBytes                          int64
	MaxTxnOps, MaxRequestBytes          uint
	MaxConcurrentStreams                uint32
	KeepaliveMinTime                    time.Duration
	KeepaliveInterval, KeepaliveTimeout time.Duration
	ReusePort                           bool
	MaxLearners                         int
	PreVote, StrictReconfig             bool
	InitialCluster, ClusterToken        string
	ClusterState                        string
	AutoCompactionMode                  string
	AutoCompactionRetention             string
	Client, Peer                        Transport
	SelfSignedYears                     uint
	CipherSuites                        []string
	TLSMin, TLSMax                      string
	CORS, HostWhitelist                 []string
	AuthToken                           string
	BcryptCost, AuthTokenTTL            uint
	EnablePprof, EnableGateway          bool
	Metrics                             string
	CorruptCheckInterval                time.Duration
	CompactCheckInterval                time.Duration
	WatchProgressInterval, SlowRequest  time.Duration
	SlowApply                           time.Duration
	FeatureGates                        map[string]bool
	ForceNewCluster, UnsafeNoFsync      bool
	Discovery                           Discovery
	Log                                 LogSettings

	// Warnings are one line each: about what was given and has no effect, or should be known.
	Warnings []string

	// given are the flags that were set, wherever.
	given map[string]bool
	// formerGates are the feature gates that were set by the flags which they were before etcd 3.6.
	formerGates map[string]bool
	fallback    string
	// resolver asks DNS.
	resolver *net.Resolver
	// flags are those that were given on the command line.
	flags map[string]bool
	// byFile says that they are from a file.
	byFile bool
}

// Transport are the certificates of one port, and what is asked of who calls there.
type Transport struct {
	CertFile, KeyFile             string
	ClientCertFile, ClientKeyFile string
	ClientCertAuth                bool
	TrustedCAFile, CRLFile        string
	AllowedCNs, AllowedHostnames  []string
	SkipClientSAN                 bool
	AutoTLS                       bool
}

// empty tells whether there is no certificate to serve with.
func (t Transport) empty() bool { return t.CertFile == "" && t.KeyFile == "" }

func (s *Settings) warn(text string) { s.Warnings = append(s.Warnings, text) }
