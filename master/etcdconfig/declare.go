package etcdconfig

import (
	"math"
	"time"
)

// Why flags have no effect. What etcd will drop is said in its own words, for who looks for these in a log.
const (
	noBBolt   = "the database is no bbolt file"
	noTracing = "no traces are exported"
	noRounds  = "the storage engine compacts in the background by itself"
	notByEtcd = "etcd ignores it, too"
)

func (t *table) member(s *Settings) {
	t.group = "Member"
	t.text(&s.Name, "name", "default", "this member's name")
	t.text(&s.DataDir, "data-dir", "", "where the data is kept (default NAME.etcd)")
	t.text(&s.WALDir, "wal-dir", "", "where the Raft log is kept, if not in the data directory")
	t.set.Uint64Var(&s.SnapshotCount, "snapshot-count", 10000, "")
	t.add(option{name: "snapshot-count", usage: "entries after which the Raft log is truncated; three times as many are kept for members that are behind"})
	t.idle("snapshot-catchup-entries", uint(5000), "--snapshot-count says how many entries are kept")
	t.count(&s.HeartbeatMillis, "heartbeat-interval", 100, "how far apart the leader's heartbeats are, at most, in milliseconds; no more than a fifth of --election-timeout")
	t.count(&s.ElectionMillis, "election-timeout", 1000, "how long a leader may be silent before another is elected, in milliseconds")
	t.idle("initial-election-tick-advance", true, "elections don't go by ticks")
	t.urls(&s.ListenPeer, "listen-peer-urls", "http://localhost:2380", "URLs that serve the other members")
	t.urls(&s.ListenClient, "listen-client-urls", "http://localhost:2379", "URLs that serve clients")
	t.urls(&s.ListenClientHTTP, "listen-client-http-urls", "", "URLs that serve clients over HTTP only; --listen-client-urls then serve gRPC only")
	t.idle("max-snapshots", uint(5), "snapshots that are not needed any more are removed by themselves. --max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.")
	t.idle("max-wals", uint(5), "segments of the log that are not needed any more are removed by themselves")
	t.idle("memory-mlock", false, noBBolt)
	t.set.Int64Var(&s.QuotaBytes, "quota-backend-bytes", 0, "")
	t.add(option{name: "quota-backend-bytes", usage: "bytes of what can still be read, history included, beyond which writes are refused; 0 or less: no limit but the disk"})
	t.idle("backend-bbolt-freelist-type", "", noBBolt)
	t.idle("backend-batch-interval", time.Duration(0), noBBolt)
	t.idle("backend-batch-limit", 0, noBBolt)
	t.count(&s.MaxTxnOps, "max-txn-ops", 128, "most operations in a transaction")
	t.count(&s.MaxRequestBytes, "max-request-bytes", 1572864, "most bytes in a request")
	s.MaxConcurrentStreams = math.MaxUint32
	t.value((*uint32Value)(&s.MaxConcurrentStreams), "max-concurrent-streams", "most concurrent calls on a connection")
	t.duration(&s.KeepaliveMinTime, "grpc-keepalive-min-time", 5*time.Second, "shortest time between two pings of a client")
	t.duration(&s.KeepaliveInterval, "grpc-keepalive-interval", 2*time.Hour, "how often a quiet client is pinged; 0: never")
	t.duration(&s.KeepaliveTimeout, "grpc-keepalive-timeout", 20*time.Second, "how long to wait for the answer to such a ping")
	t.toggle(&s.ReusePort, "socket-reuse-port", false, "let other processes have the same ports (SO_REUSEPORT)")
	t.idle("socket-reuse-address", false, "it is so in any case")
	t.idle("raft-read-timeout", 5*time.Second, "members that don't answer are found by --election-timeout")
	t.idle("raft-write-timeout", 5*time.Second, "members that don't answer are found by --election-timeout")
	t.value(&gatesValue{&s.FeatureGates}, "feature-gates", "InitialCorruptCheck and CompactHashCheck work; etcd's others are taken and have no effect")
	t.idle("bootstrap-defrag-threshold-megabytes", uint(0), "there is nothing to defragment")
	t.idle("compaction-batch-limit", 0, noRounds)
	t.idle("compaction-sleep-interval", time.Duration(0), noRounds)
	t.duration(&s.WatchProgressInterval, "watch-progress-notify-interval", 0, "time between progress notifications of watches that ask for them (default 10m)")
	t.text(&s.ConfigFile, "config-file", "", "read all settings from this file, and none from flags and variables")
}

func (t *table) clustering(s *Settings) {
	t.group = "Clustering"
	t.urls(&s.AdvertisePeer, "initial-advertise-peer-urls", "http://localhost:2380", "URLs at which the other members reach this one")
	t.text(&s.InitialCluster, "initial-cluster", "", "all members, name=url each (default NAME=--initial-advertise-peer-urls)")
	t.choice(&s.ClusterState, "initial-cluster-state", "new, or existing for one that was added with 'member add'", "new", "existing")
	t.text(&s.ClusterToken, "initial-cluster-token", "etcd-cluster", "what the members share; one with 16 characters or more is a secret that keeps other machines out")
	t.urls(&s.AdvertiseClient, "advertise-client-urls", "http://localhost:2379", "URLs at which clients reach this member")
	t.set.IntVar(&s.MaxLearners, "max-learners", 1, "")
	t.add(option{name: "max-learners", usage: "most learners in the cluster"})
	t.toggle(&s.StrictReconfig, "strict-reconfig-check", true, "refuse changes of the members that endanger the majority")
	t.toggle(&s.PreVote, "pre-vote", true, "ask before an election whether it can be won")
	t.choice(&s.AutoCompactionMode, "auto-compaction-mode", "periodic or revision", "periodic", "revision")
	t.text(&s.AutoCompactionRetention, "auto-compaction-retention", "0", "how much of the history is kept: a time (hours, or such as 5m), or a number of revisions; 0: all")
	d := &s.Discovery
	t.text(&d.Domain, "discovery-srv", "", "domain whose records _etcd-server._tcp and _etcd-server-ssl._tcp name the members")
	t.text(&d.Service, "discovery-srv-name", "", "suffix of the service's name in those records")
	t.list(&d.Endpoints, "discovery-endpoints", "", "an etcd where the members find each other")
	t.text(&d.Token, "discovery-token", "", "what the cluster is known by there")
	t.duration(&d.DialTimeout, "discovery-dial-timeout", 2*time.Second, "how long a connection to it may take")
	t.duration(&d.RequestTimeout, "discovery-request-timeout", 5*time.Second, "how long its answer may take")
	t.duration(&d.KeepaliveTime, "discovery-keepalive-time", 2*time.Second, "how often it is pinged")
	t.duration(&d.KeepaliveTimeout, "discovery-keepalive-timeout", 6*time.Second, "how long to wait for the answer to such a ping")
	t.toggle(&d.Plain, "discovery-insecure-transport", true, "call it in plain text")
	t.toggle(&d.SkipVerify, "discovery-insecure-skip-tls-verify", false, "don't check its certificate")
	t.text(&d.CertFile, "discovery-cert", "", "certificate that is shown to it")
	t.text(&d.KeyFile, "discovery-key", "", "key of --discovery-cert")
	t.text(&d.CAFile, "discovery-cacert", "", "CA of its certificate")
	t.text(&d.User, "discovery-user", "", "user there, or user:password")
	t.text(&d.Password, "discovery-password", "", "password of --discovery-user")
	t.choice(&s.fallback, "discovery-fallback", "exit; there is no proxy to fall back to", "exit", "proxy")
	t.idleChoice("v2-deprecation", "there is no v2 store. --v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, ignoring user input.",
		"write-only", "write-only-drop-data", "gone")
}

func (t *table) security(s *Settings) {
	t.group = "Security"
	c, p := &s.Client, &s.Peer
	t.text(&c.CertFile, "cert-file", "", "certificate of the client port")
	t.text(&c.KeyFile, "key-file", "", "key of --cert-file")
	t.toggle(&c.ClientCertAuth, "client-cert-auth", false, "ask clients for certificates, whose common names are the users")
	t.text(&c.ClientCertFile, "client-cert-file", "", "must be readable, and has no other effect: the JSON gateway needs no certificate")
	t.text(&c.ClientKeyFile, "client-key-file", "", "key of --client-cert-file")
	t.text(&c.CRLFile, "client-crl-file", "", "list of revoked certificates of clients")
	t.list(&c.AllowedHostnames, "client-cert-allowed-hostname", "", "host names, one of which a client's certificate must have")
	t.text(&c.TrustedCAFile, "trusted-ca-file", "", "CA of the clients' certificates")
	t.toggle(&c.AutoTLS, "auto-tls", false, "serve clients with a certificate that is made here")
	t.text(&p.CertFile, "peer-cert-file", "", "certificate between members")
	t.text(&p.KeyFile, "peer-key-file", "", "key of --peer-cert-file")
	t.toggle(&p.ClientCertAuth, "peer-client-cert-auth", false, "ask members for certificates")
	t.text(&p.ClientCertFile, "peer-client-cert-file", "", "certificate to call other members with, if it is not --peer-cert-file")
	t.text(&p.ClientKeyFile, "peer-client-key-file", "", "key of --peer-client-cert-file")
	t.text(&p.TrustedCAFile, "peer-trusted-ca-file", "", "CA of the members' certificates")
	t.list(&p.AllowedCNs, "peer-cert-allowed-cn", "", "common names, one of which a member's certificate must have")
	t.list(&p.AllowedHostnames, "peer-cert-allowed-hostname", "", "host names, one of which a member's certificate must have")
	t.toggle(&p.AutoTLS, "peer-auto-tls", false, "members talk TLS with certificates of a CA that the cluster makes")
	t.count(&s.SelfSignedYears, "self-signed-cert-validity", 1, "years that the certificate of --auto-tls is valid")
	t.text(&p.CRLFile, "peer-crl-file", "", "list of revoked certificates of members")
	t.toggle(&p.SkipClientSAN, "peer-skip-client-san-verification", false, "let members call from addresses that are not in their certificates")
	t.list(&s.CipherSuites, "cipher-suites", "", "cipher suites of TLS 1.2 on the client port")
	t.text(&s.TLSMin, "tls-min-version", "TLS1.2", "lowest version of TLS on the client port; members talk TLS 1.3")
	t.text(&s.TLSMax, "tls-max-version", "", "highest version of TLS on the client port")
	t.list(&s.CORS, "cors", "*", "origins of web pages that may call")
	t.list(&s.HostWhitelist, "host-whitelist", "*", "host names that calls to a port without TLS may use")
	t.text(&s.AuthToken, "auth-token", "simple", "simple, or jwt,sign-method=…,pub-key=…,priv-key=…,ttl=…")
	t.count(&s.BcryptCost, "bcrypt-cost", 10, "how expensive it is to guess a password, 4 to 31")
	t.count(&s.AuthTokenTTL, "auth-token-ttl", 300, "seconds that a simple token stays valid after its last use")
}

func (t *table) monitoring(s *Settings) {
	t.group = "Monitoring"
	t.toggle(&s.EnablePprof, "enable-pprof", false, "profiles at /debug/pprof/")
	t.choice(&s.Metrics, "metrics", "basic, or extensive to measure how long calls take as well", "basic", "extensive")
	t.urls(&s.ListenMetrics, "listen-metrics-urls", "", "URLs that serve /metrics and /health, beside the client port")
	t.toggle(&s.EnableGateway, "enable-grpc-gateway", true, "the JSON gateway at /v3/")
	t.duration(&s.CorruptCheckInterval, "corrupt-check-time", 0, "how often to compare the members' histories; 0: never")
	t.duration(&s.CompactCheckInterval, "compact-hash-check-time", time.Minute, "how often to compare them if they were compacted, with the feature gate CompactHashCheck")
	t.duration(&s.SlowRequest, "warning-unary-request-duration", 300*time.Millisecond, "how long a call may take before it is logged")
	t.duration(&s.SlowApply, "warning-apply-duration", 100*time.Millisecond, "how long a request may take the store before it is logged")
	t.idle("downgrade-check-time", 5*time.Second, "there are no versions of the storage to wait for")
	t.choice(&s.Log.logger, "logger", "zap, which stands for structured logs", "zap")
	t.list(&s.Log.Outputs, "log-outputs", "default", "stderr, stdout, or paths of files")
	t.choice(&s.Log.Level, "log-level", "debug, info, warn, error, panic or fatal", "info", "debug", "warn", "error", "panic", "fatal")
	t.choice(&s.Log.Format, "log-format", "json or console", "json", "console")
	t.toggle(&s.Log.Rotate, "enable-log-rotation", false, "start a new log file when one is full")
	t.text(&s.Log.Rotation, "log-rotation-config-json", defaultRotation, "when, and how many are kept")
	t.idle("enable-distributed-tracing", false, noTracing)
	t.idle("distributed-tracing-address", "localhost:4317", noTracing)
	t.idle("distributed-tracing-service-name", "etcd", noTracing)
	t.idle("distributed-tracing-instance-id", "", noTracing)
	t.idle("distributed-tracing-sampling-rate", 0, noTracing)
	t.toggle(&s.Version, "version", false, "print the version")
}

func (t *table) unsafe(s *Settings) {
	t.group = "Unsafe"
	t.toggle(&s.ForceNewCluster, "force-new-cluster", false, "make a cluster of this member alone, with its data")
	t.toggle(&s.UnsafeNoFsync, "unsafe-no-fsync", false, "acknowledge writes that only the operating system has: what was acknowledged is lost with the machine")
}

// ignored are those that etcd takes and ignores.
func (t *table) ignored() {
	t.group = ""
	for _, name := range []string{
		"cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force", "max-result-buffer",
		"max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout", "retry-interval", "snapshot", "v", "vv",
		"test.coverprofile", "test.outputdir",
	} {
		t.set.Var(anything{}, name, "")
		t.add(option{name: name, idle: notByEtcd})
	}
}

// anything takes every value, or none.
type anything struct{}

func (anything) String() string   { return "" }
func (anything) Set(string) error { return nil }
func (anything) IsBoolFlag() bool { return true }
