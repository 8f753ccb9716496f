package etcdconfig

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/port"
	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/pki/files"
	"github.com/ctlplane/ctlplane/raftstore"
)

// configure makes a master's configuration of flags, with a fresh data directory unless one is named.
func configure(t *testing.T, args ...string) (master.Config, string, error) {
	t.Helper()
	s, err := Parse(append([]string{"--data-dir", filepath.Join(t.TempDir(), "data")}, args...), nil)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	config, err := s.Master(t.Context(), slog.New(slog.NewTextHandler(&logged, nil)))
	return config, logged.String(), err
}

// peerFiles are flags that name a certificate for members, and more.
func peerFiles(t *testing.T, more ...string) []string {
	t.Helper()
	certFile, keyFile, err := files.SelfSigned(t.TempDir(), []string{"192.0.2.1"}, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{"--peer-cert-file", certFile, "--peer-key-file", keyFile}, more...)
}

func TestMaster(t *testing.T) {
	three := "b=http://10.0.0.2:2380,a=http://10.0.0.1:2380,c=http://10.0.0.3:2380"
	for name, test := range map[string]struct {
		args []string
		want func(c master.Config, logged string) bool
	}{
		"alone": {nil, func(c master.Config, logged string) bool {
			return c.Peers == nil && c.Token == "" && c.OpenToken && c.KVInsecure && c.StoreOnly && logged == "" &&
				slices.Equal(c.PeerURLs, []string{"http://localhost:2380"}) && slices.Equal(c.ClientURLs, []string{"http://localhost:2379"})
		}},
		"the first name begins": {[]string{"--name=b", "--initial-cluster", three}, func(c master.Config, logged string) bool {
			return slices.Equal(c.Peers, []raftstore.Peer{{Name: "a", Address: "10.0.0.1:2380"}, {Name: "b", Address: "10.0.0.2:2380"}, {Name: "c", Address: "10.0.0.3:2380"}}) &&
				len(c.Token) >= pki.MinSecret && c.OpenToken && slices.Equal(c.PeerURLs, []string{"http://10.0.0.2:2380"})
		}},
		"a long token is a secret": {[]string{"--name=b", "--initial-cluster", three, "--initial-cluster-token", "0123456789abcdef", "--listen-peer-urls", "http://0.0.0.0:2380"}, func(c master.Config, logged string) bool {
			return c.Token == "0123456789abcdef" && !c.OpenToken && logged == ""
		}},
		"a short one is warned of": {[]string{"--name=b", "--initial-cluster", three, "--listen-peer-urls", "http://0.0.0.0:2380"}, func(c master.Config, logged string) bool {
			return strings.Count(logged, "--peer-cert-file") == 1
		}},
		"members without certificates are warned of": {peerFiles(t, "--listen-peer-urls=https://0.0.0.0:2380", "--initial-advertise-peer-urls=https://192.0.2.1:2380", "--initial-cluster-token=0123456789abcdef"), func(c master.Config, logged string) bool {
			return c.PeerSecurity != nil && strings.Count(logged, "asks nobody for a certificate") == 1
		}},
		"added later": {[]string{"--name=b", "--initial-cluster", three, "--initial-cluster-state=existing"}, func(c master.Config, _ string) bool {
			return c.Existing && len(c.Peers) == 3
		}},
		"reached elsewhere": {[]string{"--listen-peer-urls=http://0.0.0.0:2380", "--initial-advertise-peer-urls=http://192.0.2.1:12380", "--listen-client-urls=http://0.0.0.0:2379", "--advertise-client-urls=http://192.0.2.1:12379,http://b:1"}, func(c master.Config, _ string) bool {
			return c.PeerAddr == "0.0.0.0:2380" && slices.Equal(c.PeerURLs, []string{"http://192.0.2.1:12380"}) && slices.Equal(c.ClientURLs, []string{"http://192.0.2.1:12379", "http://b:1"})
		}},
		"all addresses, for whom one stands in": {[]string{"--listen-peer-urls=http://0.0.0.0:2380", "--initial-advertise-peer-urls=http://0.0.0.0:2380", "--initial-cluster=default=http://0.0.0.0:2380", "--listen-client-urls=http://0.0.0.0:2379", "--advertise-client-urls=http://0.0.0.0:2379"}, func(c master.Config, logged string) bool {
			return slices.Equal(c.PeerURLs, []string{"http://0.0.0.0:2380"}) && slices.Equal(c.ClientURLs, []string{"http://0.0.0.0:2379"}) && c.ClientAddr == "0.0.0.0:2379"
		}},
		"the same place by another name": {[]string{"--name=a", "--initial-cluster=a=http://localhost:1", "--initial-advertise-peer-urls=http://127.0.0.1:1"}, func(c master.Config, _ string) bool {
			return slices.Equal(c.PeerURLs, []string{"http://localhost:1"})
		}},
		"a machine that joins told it before": {[]string{"--name=a", "--initial-cluster-state=existing", "--initial-cluster=a=http://10.0.0.1:1,b=http://10.0.0.2:1", "--initial-advertise-peer-urls=http://10.0.0.3:1"}, func(c master.Config, _ string) bool {
			return slices.Equal(c.PeerURLs, []string{"http://10.0.0.1:1"})
		}},
		"several places": {[]string{"--listen-peer-urls=http://127.0.0.1:1,http://127.0.0.2:1", "--listen-client-http-urls=http://127.0.0.1:3", "--listen-metrics-urls=http://127.0.0.1:4", "--socket-reuse-port"}, func(c master.Config, _ string) bool {
			return slices.Equal(c.PeerListen, []string{"127.0.0.2:1"}) && c.SharePort && c.ClientListen[0].Kind == port.GRPCOnly && c.ClientListen[1].Kind == port.HTTPOnly && c.ClientListen[1].Shared && len(c.MetricsListen) == 1
		}},
		"limits": {[]string{"--max-request-bytes=10000000", "--max-txn-ops=500", "--max-concurrent-streams=7", "--quota-backend-bytes=-1", "--auto-compaction-retention=1", "--grpc-keepalive-interval=0", "--max-learners=0"}, func(c master.Config, _ string) bool {
			return c.KV.MaxRequestBytes == 10_000_000 && c.ClientServer.MaxRequestBytes == 10_000_000 && c.Member.MaxCommandBytes > 10_000_000 &&
				c.KV.MaxTxnOps == 500 && c.ClientServer.MaxConcurrentStreams == 7 && c.Member.QuotaBytes == -1 &&
				c.Member.AutoCompaction.Retention == time.Hour && c.ClientServer.KeepaliveInterval < 0 && c.Member.MaxLearners < 0
		}},
		"no fsync": {[]string{"--unsafe-no-fsync"}, func(c master.Config, logged string) bool {
			return c.Member.UnsafeNoSync && strings.Contains(logged, "NOTHING THAT IS WRITTEN IS SAFE")
		}},
		"slow requests and compactions that are not looked at": {nil, func(c master.Config, _ string) bool {
			return c.Member.SlowApply == 100*time.Millisecond && c.Member.CompactCheckInterval == 0
		}},
		"slow requests and compactions": {[]string{"--warning-apply-duration=2s", "--feature-gates=CompactHashCheck=true", "--compact-hash-check-time=5s"}, func(c master.Config, logged string) bool {
			return c.Member.SlowApply == 2*time.Second && c.Member.CompactCheckInterval == 5*time.Second && logged == ""
		}},
		"times that were not asked for": {nil, func(c master.Config, _ string) bool {
			return c.Member.HeartbeatTimeout == time.Second && c.Member.HeartbeatInterval == 100*time.Millisecond && c.Member.SnapshotEntries == 0
		}},
		"times": {[]string{"--election-timeout=2500", "--heartbeat-interval=250", "--snapshot-count=5", "--pre-vote=false", "--strict-reconfig-check=false"}, func(c master.Config, _ string) bool {
			return c.Member.HeartbeatTimeout == 2500*time.Millisecond && c.Member.HeartbeatInterval == 250*time.Millisecond && c.Member.SnapshotEntries == 5 && c.Member.NoPreVote && c.Member.LooseReconfig
		}},
		"users": {[]string{"--bcrypt-cost=4", "--auth-token-ttl=60", "--client-cert-auth"}, func(c master.Config, _ string) bool {
			return c.KV.BcryptCost == 4 && c.KV.AuthTokenTTL == time.Minute && c.KV.ClientCertAuth && c.KV.AuthToken == "simple"
		}},
		"web": {[]string{"--cors=http://a", "--host-whitelist=b", "--enable-pprof", "--enable-grpc-gateway=false"}, func(c master.Config, _ string) bool {
			return slices.Equal(c.HTTP.CORS, []string{"http://a"}) && slices.Equal(c.HTTP.HostWhitelist, []string{"b"}) && c.HTTP.Pprof && c.HTTP.NoGateway
		}},
		"certificates for nothing": {[]string{"--cert-file=none", "--key-file=none", "--peer-auto-tls"}, func(c master.Config, logged string) bool {
			return c.ClientTLS == nil && c.KVInsecure && strings.Count(logged, "write https://") == 2
		}},
		"the members' own CA": {[]string{"--peer-auto-tls", "--listen-peer-urls=https://localhost:2380", "--initial-advertise-peer-urls=https://localhost:2380"}, func(c master.Config, _ string) bool {
			return c.PeerSecurity == nil
		}},
		"http and https at one place": {[]string{"--auto-tls", "--listen-client-urls=https://localhost:2379,http://localhost:2379,http://localhost:1", "--listen-metrics-urls=http://localhost:2,https://localhost:2"}, func(c master.Config, _ string) bool {
			both := c.ClientListen[0]
			return len(c.ClientListen) == 2 && both.TLS && both.Plain && !c.ClientListen[1].TLS && len(c.MetricsListen) == 1 && c.MetricsListen[0].Plain
		}},
		"auto-tls": {[]string{"--auto-tls", "--listen-client-urls=https://localhost:2379,unix:///run/x"}, func(c master.Config, _ string) bool {
			return c.ClientTLS != nil && !c.KVInsecure && c.ClientListen[0].TLS && !c.ClientListen[1].TLS
		}},
		"calls from where it is": {[]string{"--feature-gates=SetMemberLocalAddr=true", "--listen-peer-urls=http://0.0.0.0:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380,http://10.0.0.7:2380", "--initial-cluster=default=http://127.0.0.1:2380,default=http://10.0.0.7:2380"}, func(c master.Config, _ string) bool {
			return c.Member.CallFrom.String() == "10.0.0.7"
		}},
		"calls from nowhere": {[]string{"--feature-gates=SetMemberLocalAddr=true"}, func(c master.Config, logged string) bool {
			return !c.Member.CallFrom.IsValid() && strings.Contains(logged, "SetMemberLocalAddr has no effect")
		}},
		"what etcd will drop": {[]string{"--max-snapshots=10", "--v2-deprecation=write-only-drop-data"}, func(_ master.Config, logged string) bool {
			return strings.Contains(logged, "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8") &&
				strings.Contains(logged, "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, ignoring user input")
		}},
		"warnings": {[]string{"--max-wals=1", "--feature-gates=PriorityRequest=true"}, func(_ master.Config, logged string) bool {
			return strings.Count(logged, "\n") == 2 && strings.Contains(logged, "--max-wals has no effect") && strings.Contains(logged, "PriorityRequest has no effect")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			config, logged, err := configure(t, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			if !test.want(config, logged) {
				t.Errorf("got %+v\n%s", config, logged)
			}
		})
	}
}

func TestMasterRefuses(t *testing.T) {
	ours := t.TempDir()
	if err := os.WriteFile(filepath.Join(ours, "0000000000000000-0000000000000000.wal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		`does not list this member, "x"`:   {"--name=x", "--initial-cluster=a=http://10.0.0.1:1"},
		"make them the same":               {"--name=a", "--initial-cluster=a=http://10.0.0.1:1", "--initial-advertise-peer-urls=http://10.0.0.2:1"},
		"is not name=url":                  {"--initial-cluster=http://10.0.0.1:1"},
		`"b" has no URL`:                   {"--initial-cluster=b="},
		"can't be reached by others":       {"--initial-cluster=default=http://0.0.0.0:1,b=http://10.0.0.2:1"},
		`both "a"'s and "b"'s`:             {"--initial-cluster=a=http://10.0.0.1:1,b=http://10.0.0.1:1"},
		"--initial-cluster is needed with": {"--initial-cluster-state=existing"},
		"partly with TLS":                  {"--initial-cluster=default=http://10.0.0.1:1,b=https://10.0.0.2:1"},
		"partly http and partly https":     {"--listen-peer-urls=https://localhost:1,http://localhost:2"},
		"give --peer-cert-file":            {"--listen-peer-urls=https://localhost:1", "--initial-advertise-peer-urls=https://localhost:1"},
		"must be provided for metrics":     {"--listen-metrics-urls=https://localhost:1"},
		"give --cert-file":                 {"--listen-client-urls=https://localhost:1", "--advertise-client-urls=https://localhost:1"},
		"holds the log of etcd":            {"--wal-dir", ours},
		"auth-token":                       {"--auth-token=paper"},
	} {
		_, _, err := configure(t, args...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: got %v, want one line that says %q", args, err, want)
		}
	}
}

// TestTokenIsOfTheWholeList makes members agree that have the same list in another order, and no others.
func TestTokenIsOfTheWholeList(t *testing.T) {
	token := func(args ...string) string {
		config, _, err := configure(t, append([]string{"--name=a"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return config.Token
	}
	list := "--initial-cluster=a=http://10.0.0.1:1,b=http://10.0.0.2:1"
	if token(list) != token("--initial-cluster=b=http://10.0.0.2:1,a=http://10.0.0.1:1") {
		t.Error("the order counts")
	}
	for _, other := range [][]string{
		{list, "--initial-cluster-token=x"},
		{"--initial-cluster=a=http://10.0.0.1:1,b=http://10.0.0.3:1"},
		{"--initial-cluster=a=http://10.0.0.1:1,c=http://10.0.0.2:1"},
	} {
		if token(list) == token(other...) {
			t.Errorf("%v makes the same token", other)
		}
	}
}

// TestRestartGoesByTheDirectory starts a member again whose flags no longer fit: as with etcd, they are for the beginning.
func TestRestartGoesByTheDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "member.json"), []byte(`{"clusterId":"1","memberId":"2","name":"a","peerAddress":"10.0.0.1:2380"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	config, _, err := configure(t, "--data-dir", dir, "--name=a", "--initial-cluster=b=http://10.0.0.2:1,c=http://10.0.0.3:1", "--initial-cluster-state=existing")
	if err != nil || config.Peers != nil || config.Existing {
		t.Errorf("%+v: %v", config, err)
	}
}
