package etcdconfig

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/port"
	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/raftstore"
)

// requestOverhead is what a command may have beside the request that it is made of.
const requestOverhead = 512 << 10

// Master is the configuration of a master that is nothing but a store. It reads certificates and looks into the data
// directory, and changes neither, but for the certificate of --auto-tls. Warnings go to logger. A member that is to find the
// others by a discovery service waits for them until ctx ends.
func (s *Settings) Master(ctx context.Context, logger *slog.Logger) (master.Config, error) {
	dataDir, err := filepath.Abs(s.dataDir())
	if err != nil {
		return master.Config{}, err
	}
	config := master.Config{Name: s.Name, DataDir: dataDir, StoreOnly: true, Logger: logger}
	if err := refuseEtcdData(dataDir); err != nil {
		return config, err
	}
	for _, warning := range s.Warnings {
		logger.Warn(warning)
	}
	if err := s.setCluster(ctx, &config, logger); err != nil {
		return config, err
	}
	s.setPorts(&config)
	if config.Member, err = s.member(config.Member); err != nil {
		return config, err
	}
	config.KV, config.ClientServer = s.services(logger)
	if err := config.KV.Validate(); err != nil {
		return config, err
	}
	config.HTTP = master.HTTPConfig{CORS: s.CORS, HostWhitelist: s.HostWhitelist, Pprof: s.EnablePprof, NoGateway: !s.EnableGateway, ExtensiveMetrics: s.Metrics == "extensive"}
	// Last, for it may write: what is wrong otherwise is found before.
	config.ClientTLS, err = s.clientTLS(dataDir, logger)
	config.KVInsecure = config.ClientTLS == nil
	return config, err
}

func (s *Settings) dataDir() string {
	if s.DataDir == "" {
		return s.Name + ".etcd"
	}
	return s.DataDir
}

// refuseEtcdData keeps the hands off a data directory of etcd's own.
func refuseEtcdData(dir string) error {
	if !exists(filepath.Join(dir, "member", "snap", "db")) && !exists(filepath.Join(dir, "member", "wal")) {
		return nil
	}
	return fmt.Errorf("%[1]s holds the data of etcd, which is left as it is: stop etcd, move the directory aside, to %[1]s.old say, and import it with 'ctlplane snapshot import %[1]s.old/member/snap/db --skip-hash-check --data-dir %[1]s'", dir)
}

// setCluster says what the member begins or joins; one that has begun goes on as what it is, whatever the flags say.
func (s *Settings) setCluster(ctx context.Context, config *master.Config, logger *slog.Logger) error {
	_, known, err := raftstore.LoadIdentity(config.DataDir)
	if err != nil {
		return err
	}
	var c cluster
	if known {
		c.token, c.open = s.sharedToken(nil)
		if s.given["initial-advertise-peer-urls"] {
			c.self = s.AdvertisePeer
		}
	} else if c, err = s.findCluster(ctx, logger); err != nil {
		return err
	}
	config.Peers, config.Token, config.OpenToken, config.Existing = c.peers, c.token, c.open, c.existing
	for _, u := range c.self {
		config.PeerURLs = append(config.PeerURLs, u.String())
	}
	if len(config.PeerURLs) == 0 && !everywhere(s.ListenPeer[0]) {
		config.PeerURLs = s.ListenPeer[:1].texts()
	}
	self := c.self
	if len(self) == 0 {
		self = s.ListenPeer[:1]
	}
	config.Member.CallFrom = s.callFrom(self, logger)
	var guarded bool
	config.PeerSecurity, guarded, err = s.peerSecurity(c.self, logger)
	if err == nil && !guarded && !s.ListenPeer.onlyLoopback() {
		s.warnOfStrangers(config, logger)
	}
	return err
}

// callFrom is the address of this machine that it calls other members from, if the feature gate says so: the first of its peer
// URLs that is one, but loopback.
func (s *Settings) callFrom(self URLs, logger *slog.Logger) netip.Addr {
	if !s.alpha(gateLocalAddress) {
		return netip.Addr{}
	}
	for _, u := range self {
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !ip.IsLoopback() && !ip.IsUnspecified() {
			return ip
		}
	}
	logger.Warn("the feature gate SetMemberLocalAddr has no effect: --initial-advertise-peer-urls has no address that other machines reach", "urls", self.String())
	return netip.Addr{}
}

// warnOfStrangers says who can get at the cluster through a peer port that other machines reach and that asks for no
// certificate of the user's.
func (s *Settings) warnOfStrangers(config *master.Config, logger *slog.Logger) {
	switch {
	case config.PeerSecurity != nil:
		logger.Warn("the peer port asks nobody for a certificate: whoever reaches it can change everything; give --peer-trusted-ca-file and --peer-client-cert-auth",
			"listening", s.ListenPeer.String())
	case config.OpenToken:
		logger.Warn("whoever reaches the peer port and knows --initial-cluster and --initial-cluster-token can join this cluster: give the members certificates with --peer-cert-file, --peer-key-file, --peer-trusted-ca-file and --peer-client-cert-auth, or a token of 16 characters and more",
			"listening", s.ListenPeer.String())
	}
}

func (s *Settings) setPorts(config *master.Config) {
	kind := port.GRPCAndHTTP
	if len(s.ListenClientHTTP) > 0 {
		kind = port.GRPCOnly
	}
	config.ClientListen = append(s.listens(s.ListenClient, kind), s.listens(s.ListenClientHTTP, port.HTTPOnly)...)
	config.MetricsListen = s.listens(s.ListenMetrics, port.HTTPOnly)
	config.ClientURLs = s.ListenClient.texts()
	if s.given["advertise-client-urls"] {
		config.ClientURLs = s.AdvertiseClient.texts()
	}
	config.ClientAddr = s.ListenClient.outermost().Host
	config.PeerAddr, config.SharePort = peerAddress(s.ListenPeer[0]), s.ReusePort
	for _, u := range s.ListenPeer[1:] {
		config.PeerListen = append(config.PeerListen, peerAddress(u))
	}
}

// listens are the addresses that URLs are served on. One that is there with http and with https is one address that takes both.
func (s *Settings) listens(urls URLs, kind port.Kind) []master.Listen {
	var listens []master.Listen
	for _, u := range urls {
		network, address := listenAddress(u)
		at := func(l master.Listen) bool { return l.Network == network && l.Address == address }
		if i := slices.IndexFunc(listens, at); i >= 0 {
			listens[i].TLS, listens[i].Plain = true, true
			continue
		}
		listens = append(listens, master.Listen{Network: network, Address: address, TLS: secure(u), Kind: kind, Shared: s.ReusePort})
	}
	return listens
}

// member are the settings of replication. What was not asked for stays as this store has it.
func (s *Settings) member(config raftstore.Config) (raftstore.Config, error) {
	var err error
	if s.WALDir != "" {
		if config.LogDir, err = filepath.Abs(s.WALDir); err != nil {
			return config, err
		}
		if hasEtcdWAL(config.LogDir) {
			return config, errors.New("--wal-dir " + config.LogDir + " holds the log of etcd: choose an empty directory")
		}
	}
	config.HeartbeatTimeout = time.Duration(s.ElectionMillis) * time.Millisecond
	config.HeartbeatInterval = time.Duration(s.HeartbeatMillis) * time.Millisecond
	if s.given["snapshot-count"] {
		config.SnapshotEntries = max(s.SnapshotCount, 1)
	}
	config.NoPreVote, config.LooseReconfig = !s.PreVote, !s.StrictReconfig
	config.MaxLearners = s.MaxLearners
	if s.MaxLearners == 0 {
		config.MaxLearners = -1 // 0 stands for the default
	}
	config.MaxCommandBytes = int(s.MaxRequestBytes) + requestOverhead
	config.QuotaBytes = s.QuotaBytes
	config.CorruptCheckInterval, config.InitialCorruptCheck = s.CorruptCheckInterval, s.initialCorruptCheck()
	if s.compactHashCheck() {
		config.CompactCheckInterval = s.CompactCheckInterval
	}
	if config.SlowApply = s.SlowApply; s.SlowApply == 0 {
		config.SlowApply = 1 // 0 stands for the default: every request is slower than a nanosecond
	}
	config.ForceNewCluster, config.UnsafeNoSync = s.ForceNewCluster, s.UnsafeNoFsync
	config.AutoCompaction, err = s.autoCompaction()
	return config, err
}

// hasEtcdWAL tells whether etcd keeps its log in a directory.
func hasEtcdWAL(dir string) bool {
	segments, err := filepath.Glob(filepath.Join(dir, "[0-9a-f]*-[0-9a-f]*.wal"))
	return err == nil && len(segments) > 0
}

func (s *Settings) services(logger *slog.Logger) (etcdv3.Options, etcdv3.ServerConfig) {
	return etcdv3.Options{
			MaxRequestBytes: int(s.MaxRequestBytes), MaxTxnOps: int(s.MaxTxnOps),
			WatchProgressInterval: s.WatchProgressInterval,
			AuthToken:             s.AuthToken, AuthTokenTTL: time.Duration(s.AuthTokenTTL) * time.Second,
			BcryptCost: int(s.BcryptCost), ClientCertAuth: s.Client.ClientCertAuth,
		}, etcdv3.ServerConfig{
			MaxRequestBytes: int(s.MaxRequestBytes), MaxConcurrentStreams: s.MaxConcurrentStreams,
			KeepaliveMinTime: s.KeepaliveMinTime, KeepaliveInterval: orNever(s.KeepaliveInterval),
			KeepaliveTimeout: s.KeepaliveTimeout, SlowCall: s.SlowRequest, Logger: logger,
		}
}

// orNever is an interval of which 0 means never.
func orNever(interval time.Duration) time.Duration {
	if interval == 0 {
		return -1
	}
	return interval
}

// onlyLoopback tells whether no other machine can call.
func (us URLs) onlyLoopback() bool { return !slices.ContainsFunc(us, reachable) }

// outermost is the first URL that other machines can call, or the first where there is none.
func (us URLs) outermost() url.URL { return us[max(0, slices.IndexFunc(us, reachable))] }

// reachable tells whether other machines can call a URL.
func reachable(u url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	network, _ := listenAddress(u)
	return network != "unix" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}
