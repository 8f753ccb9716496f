package etcdconfig

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, environ []string, args ...string) *Settings {
	t.Helper()
	s, err := Parse(args, environ)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		args    []string
		environ []string
		want    func(*Settings) bool
	}{
		"nothing": {nil, nil, func(s *Settings) bool {
			return s.Name == "default" && s.dataDir() == "default.etcd" && s.ListenClient.String() == "http://localhost:2379" && len(s.Warnings) == 0
		}},
		"two dashes":     {[]string{"--name=a", "--data-dir", "/d"}, nil, func(s *Settings) bool { return s.Name == "a" && s.dataDir() == "/d" }},
		"one dash":       {[]string{"-name", "a", "-client-cert-auth"}, nil, func(s *Settings) bool { return s.Name == "a" && s.Client.ClientCertAuth }},
		"false":          {[]string{"--pre-vote=false"}, nil, func(s *Settings) bool { return !s.PreVote }},
		"variables":      {nil, []string{"ETCD_NAME=a", "ETCD_PEER_AUTO_TLS=true", "NAME=b"}, func(s *Settings) bool { return s.Name == "a" && s.Peer.AutoTLS }},
		"empty variable": {[]string{"--name", "a"}, []string{"ETCD_NAME="}, func(s *Settings) bool { return s.Name == "a" }},
		"several URLs":   {[]string{"--listen-peer-urls", "http://10.0.0.1:2380, http://10.0.0.2:2380"}, nil, func(s *Settings) bool { return len(s.ListenPeer) == 2 }},
		"the same twice": {[]string{"--listen-metrics-urls", "http://10.0.0.1:1,http://10.0.0.1:1"}, nil, func(s *Settings) bool { return len(s.ListenMetrics) == 1 }},
		"unix socket":    {[]string{"--listen-client-urls", "unix:///run/e.sock", "--advertise-client-urls", "unix:///run/e.sock"}, nil, func(s *Settings) bool { return s.ListenClient[0].Path == "/run/e.sock" }},
		"lists": {[]string{"--peer-cert-allowed-cn", "a,b", "--cors", "http://x"}, nil, func(s *Settings) bool {
			return slices.Equal(s.Peer.AllowedCNs, []string{"a", "b"}) && slices.Equal(s.CORS, []string{"http://x"})
		}},
		"gates":     {[]string{"--feature-gates", "InitialCorruptCheck=true,LeaseCheckpoint=true"}, nil, func(s *Settings) bool { return s.initialCorruptCheck() && len(s.Warnings) == 1 }},
		"all gates": {[]string{"--feature-gates", "AllAlpha=true"}, nil, func(s *Settings) bool { return s.initialCorruptCheck() && s.compactHashCheck() }},
		"one gate": {[]string{"--feature-gates", "CompactHashCheck=true"}, nil, func(s *Settings) bool {
			return !s.initialCorruptCheck() && s.compactHashCheck() && len(s.Warnings) == 0
		}},
		"no gate":          {nil, nil, func(s *Settings) bool { return !s.initialCorruptCheck() && !s.compactHashCheck() }},
		"times":            {[]string{"--watch-progress-notify-interval", "5m", "--election-timeout", "2000"}, nil, func(s *Settings) bool { return s.WatchProgressInterval == 5*time.Minute && s.ElectionMillis == 2000 }},
		"no effect":        {[]string{"--max-wals", "3", "--memory-mlock"}, nil, func(s *Settings) bool { return warned(s, "--max-wals", "--memory-mlock") }},
		"no fsync":         {[]string{"--unsafe-no-fsync"}, nil, func(s *Settings) bool { return s.UnsafeNoFsync && warned(s, "--unsafe-no-fsync:") }},
		"etcd ignores it":  {[]string{"--force", "--v=3"}, nil, func(s *Settings) bool { return warned(s, "--force", "--v") }},
		"unknown variable": {nil, []string{"ETCD_SERVICE_HOST=10.0.0.1"}, func(s *Settings) bool { return warned(s, "ETCD_SERVICE_HOST") }},
		"version":          {[]string{"--version"}, nil, func(s *Settings) bool { return s.Version }},
		"version variable": {nil, []string{"ETCD_VERSION=v3.7.3"}, func(s *Settings) bool { return !s.Version && warned(s, "ETCD_VERSION") }},
		"help":             {[]string{"-h"}, nil, func(s *Settings) bool { return s.Help }},
		"compaction in hours": {[]string{"--auto-compaction-retention", "3"}, nil, func(s *Settings) bool {
			a, err := s.autoCompaction()
			return err == nil && a.Retention == 3*time.Hour && a.Mode == "periodic"
		}},
		"compaction by time": {[]string{"--auto-compaction-retention", "30m"}, nil, func(s *Settings) bool {
			a, err := s.autoCompaction()
			return err == nil && a.Retention == 30*time.Minute
		}},
		"compaction by revision": {[]string{"--auto-compaction-mode=revision", "--auto-compaction-retention=1000"}, nil, func(s *Settings) bool {
			a, err := s.autoCompaction()
			return err == nil && a.Retention == 1000 && a.Mode == "revision"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if s := parse(t, test.environ, test.args...); !test.want(s) {
				t.Errorf("got %+v", s)
			}
		})
	}
}

// warned tells whether there is one warning for each of the words, and no other.
func warned(s *Settings, words ...string) bool {
	if len(s.Warnings) != len(words) {
		return false
	}
	for _, word := range words {
		if !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.HasPrefix(w, word+" ") && !strings.Contains(w, "\n") }) {
			return false
		}
	}
	return true
}

func TestParseRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"did you mean --data-dir?":                            {"--data-dri", "x"},
		"etcd has no flag --no-such-thing-at-all":             {"--no-such-thing-at-all"},
		`"true" is no flag`:                                   {"--client-cert-auth", "true"},
		"needs an argument":                                   {"--name"},
		`invalid value "x"`:                                   {"--max-txn-ops", "x"},
		"choose one of new, existing":                         {"--initial-cluster-state", "old"},
		`flag -v2-deprecation: invalid value "not-yet"`:       {"--v2-deprecation=not-yet"},
		"choose one of periodic, revision":                    {"--auto-compaction-mode", "daily"},
		"is no number of revisions":                           {"--auto-compaction-mode=revision", "--auto-compaction-retention=5m"},
		"is no time":                                          {"--auto-compaction-retention=soon"},
		"has no port":                                         {"--listen-peer-urls", "http://10.0.0.1"},
		"begins neither with http://":                         {"--listen-peer-urls", "ftp://10.0.0.1:2380"},
		"has more than a path":                                {"--listen-peer-urls", "unix:///run/x?y=z"},
		"more than a host and a port":                         {"--listen-peer-urls", "http://10.0.0.1:2380/x"},
		"--advertise-client-urls is needed":                   {"--listen-client-urls", "http://0.0.0.0:2379"},
		"both in --listen-client-urls":                        {"--listen-client-http-urls", "https://localhost:2379"},
		"5 times --heartbeat-interval":                        {"--heartbeat-interval", "500"},
		"would go unnoticed":                                  {"--election-timeout", "60000"},
		"choose TLS1.2 or TLS1.3":                             {"--tls-min-version", "SSL3"},
		"is above --tls-max-version":                          {"--tls-min-version", "TLS1.3", "--tls-max-version", "TLS1.2"},
		"can't be chosen with":                                {"--tls-min-version", "TLS1.3", "--cipher-suites", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
		"did you mean TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256?": {"--cipher-suites", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA25"},
		"choose 4 to 31":                                      {"--bcrypt-cost", "3"},
		"1 year at least":                                     {"--self-signed-cert-validity", "0"},
		"there is no feature gate":                            {"--feature-gates", "Nothing=true"},
		"--compact-hash-check-time is 0s":                     {"--compact-hash-check-time", "0s"},
		"is not NAME=true":                                    {"--feature-gates", "InitialCorruptCheck"},
		"needs a file":                                        {"--enable-log-rotation"},
		"works with one file":                                 {"--enable-log-rotation", "--log-outputs", "/a,/b"},
		"--log-rotation-config-json":                          {"--enable-log-rotation", "--log-outputs", "/a", "--log-rotation-config-json", "{"},
		"no such file or directory":                           {"--config-file", "/none.yaml"},
		"it is no number from 0":                              {"--max-concurrent-streams", "-1"},
	} {
		_, err := Parse(args, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: got %v, want one line that says %q", args, err, want)
		}
	}
	if _, err := Parse([]string{"--name", "a"}, []string{"ETCD_NAME=b"}); err == nil || !strings.Contains(err.Error(), "both set") {
		t.Errorf("a flag and its variable: %v", err)
	}
	if _, err := Parse(nil, []string{"ETCD_MAX_TXN_OPS=x"}); err == nil || !strings.Contains(err.Error(), "ETCD_MAX_TXN_OPS") {
		t.Errorf("a bad variable: %v", err)
	}
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "etcd.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sample has every kind of key that etcd's own sample file has.
const sample = `
name: 'infra0'
data-dir: /var/lib/etcd
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 8589934592
listen-peer-urls: http://10.0.0.1:2380
listen-client-urls: https://10.0.0.1:2379,http://localhost:2379
max-wals: 5
cors:
initial-advertise-peer-urls: http://10.0.0.1:2380
advertise-client-urls: https://10.0.0.1:2379
discovery-fallback: 'proxy'
discovery-config:
  token:
  client:
    dial-timeout: 3000000000
    secure: {insecure-transport: true}
initial-cluster: infra0=http://10.0.0.1:2380,infra1=http://10.0.0.2:2380
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: true
proxy: 'off'
client-transport-security:
  cert-file: /etc/etcd/server.pem
  key-file: /etc/etcd/server-key.pem
  client-cert-auth: true
  trusted-ca-file: /etc/etcd/ca.pem
  auto-tls: false
  allowed-hostname:
peer-transport-security:
  cert-file: /etc/etcd/peer.pem
  allowed-cn: [a, b]
  skip-client-san-verification: true
socket-options:
  reuse-port: true
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr, /var/log/etcd.log]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
watch-progress-notify-interval: 300000000000
warning-unary-request-duration: 2s
cipher-suites: [
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
]
tls-min-version: 'TLS1.2'
feature-gates: InitialCorruptCheck=true
`

func TestConfigFile(t *testing.T) {
	path := file(t, sample)
	for name, s := range map[string]*Settings{
		"flag":     parse(t, []string{"ETCD_NAME=other"}, "--config-file", path, "--data-dir", "/other"),
		"variable": parse(t, []string{"ETCD_NAME=other", "ETCD_CONFIG_FILE=" + path}, "--data-dir", "/other"),
	} {
		for what, ok := range map[string]bool{
			"name":                    s.Name == "infra0",
			"directory":               s.DataDir == "/var/lib/etcd",
			"quota":                   s.QuotaBytes == 8<<30,
			"URLs":                    s.ListenClient.String() == "https://10.0.0.1:2379,http://localhost:2379",
			"client TLS":              s.Client.CertFile == "/etc/etcd/server.pem" && s.Client.ClientCertAuth,
			"peer TLS":                s.Peer.CertFile == "/etc/etcd/peer.pem" && slices.Equal(s.Peer.AllowedCNs, []string{"a", "b"}) && s.Peer.SkipClientSAN,
			"socket":                  s.ReusePort,
			"logs":                    slices.Equal(s.Log.Outputs, []string{"stderr", "/var/log/etcd.log"}) && s.Log.Level == "debug",
			"numbers are nanoseconds": s.WatchProgressInterval == 5*time.Minute,
			"or text":                 s.SlowRequest == 2*time.Second,
			"ciphers":                 len(s.CipherSuites) == 2,
			"gates":                   s.initialCorruptCheck(),
			"discovery":               s.Discovery.DialTimeout == 3*time.Second && s.Discovery.Plain,
			"reconfig":                !s.StrictReconfig,
			"warnings":                warned(s, "flags and ETCD_ variables", "--max-wals", "--proxy", "--discovery-fallback"),
		} {
			if !ok {
				t.Errorf("%s: %s: %+v", name, what, s)
			}
		}
	}
}

// TestConfigFileListensEverywhere takes a file that doesn't say where clients reach the member, as etcd does.
func TestConfigFileListensEverywhere(t *testing.T) {
	s := parse(t, nil, "--config-file", file(t, "listen-client-urls: http://0.0.0.0:2379"))
	if len(s.Warnings) > 0 || s.ListenClient.String() != "http://0.0.0.0:2379" {
		t.Errorf("got %+v", s)
	}
}

func TestConfigFileRefuses(t *testing.T) {
	for want, content := range map[string]string{
		"no list of settings":              "- a\n- b\n",
		"yaml":                             "a: [",
		"invalid value x for max-txn-ops":  "max-txn-ops: x",
		"invalid value maybe for pre-vote": "pre-vote: maybe",
		"client-transport-security is no":  "client-transport-security: yes please",
		"neither text nor a number nor a":  "name: {a: b}",
		"choose one of new, existing":      "initial-cluster-state: old",
	} {
		path := file(t, content)
		_, err := Parse([]string{"--config-file", path}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%q: got %v, want %s and %q", content, err, path, want)
		}
	}
}

// FuzzConfigFile feeds the reader of files, which come from outside.
func FuzzConfigFile(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`{"name": "a", "max-txn-ops": 1e3, "log-outputs": [1, null, {}]}`))
	f.Add([]byte("peer-transport-security: {allowed-cn: [[a]]}"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := &Settings{given: map[string]bool{}}
		if err := s.readFile(content); err == nil && len(s.ListenPeer) == 0 {
			t.Error("settings without a peer URL were taken")
		}
	})
}

// FuzzFlags feeds the readers of lists and URLs.
func FuzzFlags(f *testing.F) {
	f.Add("http://10.0.0.1:2380,https://[::1]:1", "a=http://10.0.0.1:2380,a=http://b:1", "A=true")
	f.Add("unix://x:1/y", "=,=", ",,")
	f.Fuzz(func(t *testing.T, urls, cluster, gates string) {
		if parsed, err := ParseURLs(urls); err == nil {
			again, err := ParseURLs(parsed.String())
			if err != nil || again.String() != parsed.String() {
				t.Errorf("%q is read as %q, and that as %q: %v", urls, parsed, again, err)
			}
		}
		if members, err := parseCluster(cluster); err == nil {
			for name, urls := range members {
				if name == "" || len(urls) == 0 {
					t.Errorf("%q has a member without name or URL", cluster)
				}
			}
		}
		into := map[string]bool{}
		_ = (&gatesValue{&into}).Set(gates)
	})
}
