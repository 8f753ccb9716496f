package master

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/ctlplane/ctlplane/bench/freeport"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
)

// running is a store of one member in this process.
type running struct {
	t       testing.TB
	config  Config
	scheme  string
	ca      *pki.CA
	stop    func()
	monitor string // the address for monitoring alone
}

// freeAddress is one that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	addresses, err := freeport.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	return addresses[0]
}

// startStore runs a store until the test ends.
func startStore(t testing.TB, change func(*Config)) *running {
	t.Helper()
	r := &running{t: t, monitor: freeAddress(t), scheme: "http"}
	ready := make(chan Ready, 1)
	r.config = Config{
		Name: "m1", DataDir: filepath.Join(t.TempDir(), "data"), PeerAddr: freeAddress(t), ClientAddr: freeAddress(t), StoreOnly: true,
		KVInsecure: true, MetricsListen: []Listen{{Network: "tcp", Address: r.monitor}},
		Logger: slog.New(slog.DiscardHandler), Ready: func(told Ready) { ready <- told },
	}
	change(&r.config)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, r.config) }()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the master ended: %v", err)
		}
	}
	t.Cleanup(r.stop)
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("the master ended before it was ready: %v", err)
	}
	if !r.config.KVInsecure {
		r.scheme = "https"
		var err error
		if r.ca, err = pki.LoadCA(raftstore.PKIDir(r.config.DataDir)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func plain(*Config) {}

// secured is a port with the cluster's own certificates.
func secured(c *Config) { c.KVInsecure = false }

// tls is what a client with a certificate uses; nil for one without.
func (r *running) tls(leaf *pki.Leaf) *tls.Config {
	r.t.Helper()
	config := &tls.Config{RootCAs: r.ca.Pool()}
	if leaf != nil {
		cert, key, err := r.ca.IssuePair(*leaf, time.Now())
		if err != nil {
			r.t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			r.t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

// client is an HTTP client; leaf is its certificate where there is TLS.
func (r *running) client(leaf *pki.Leaf) *http.Client {
	r.t.Helper()
	transport := &http.Transport{}
	if r.ca != nil {
		transport.TLSClientConfig = r.tls(leaf)
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (r *running) url(path string) string { return r.scheme + "://" + r.config.ClientAddr + path }

// ask sends a request and answers the code and the body.
func (r *running) ask(c *http.Client, method, url, body string, header ...string) (int, string, http.Header) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			request.Host = header[i+1]
		}
		request.Header.Set(header[i], header[i+1])
	}
	answer, err := c.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, string(content), answer.Header
}

func TestHealthAndVersion(t *testing.T) {
	r := startStore(t, plain)
	c := r.client(nil)
	for path, want := range map[string]string{
		"/health": `{"health":"true","reason":""}`,
		"/health?serializable=true&exclude=NOSPACE": `{"health":"true","reason":""}`,
		"/livez":                    "ok\n",
		"/livez/serializable_read":  "ok\n",
		"/readyz":                   "ok\n",
		"/readyz/linearizable_read": "ok\n",
		"/readyz/data_corruption":   "ok\n",
		"/readyz/non_learner":       "ok\n",
		"/readyz?verbose":           "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n",
		"/readyz?verbose&exclude=non_learner&exclude=no_such": "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n",
	} {
		for _, base := range []string{r.url(""), "http://" + r.monitor} {
			if code, got, _ := r.ask(c, http.MethodGet, base+path, ""); code != http.StatusOK || got != want {
				t.Errorf("%s: %d %q", base+path, code, got)
			}
		}
	}
	if _, got, _ := r.ask(c, http.MethodGet, r.url("/version"), ""); got != `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}` {
		t.Errorf("/version: %q", got)
	}
	_, got, _ := r.ask(c, http.MethodGet, r.url("/debug/vars"), "")
	var vars map[string]any
	if err := json.Unmarshal([]byte(got), &vars); err != nil || vars["memstats"] == nil || vars["cmdline"] != nil {
		t.Errorf("/debug/vars: %.200q", got)
	}
	for path, want := range map[string]int{"/readyz/no_such": 404, "/": 404, "/debug/pprof/": 404} {
		if code, _, _ := r.ask(c, http.MethodGet, r.url(path), ""); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	if code, _, header := r.ask(c, http.MethodPost, r.url("/health"), ""); code != http.StatusMethodNotAllowed || header.Get("Allow") == "" {
		t.Errorf("POST /health: %d", code)
	}
	if code, _, _ := r.ask(c, http.MethodPost, "http://"+r.monitor+"/v3/kv/range", "{}"); code != http.StatusNotFound {
		t.Errorf("the gateway is on the port for monitoring: %d", code)
	}
}

// TestHealthOfACorruptMember: it was not alive either, so that it was ended again and again by who looks after that.
func TestHealthOfACorruptMember(t *testing.T) {
	r := startStore(t, plain)
	c := r.client(nil)
	if code, got, _ := r.ask(c, http.MethodPost, r.url("/v3/maintenance/alarm"), `{"action":"ACTIVATE","memberID":"1","alarm":"CORRUPT"}`); code != http.StatusOK {
		t.Fatalf("the alarm was not raised: %d %s", code, got)
	}
	for path, want := range map[string]string{
		"/livez?verbose": "[+]serializable_read ok\nok\n",
		"/readyz":        "[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\n\n",
		"/health":        `{"health":"false","reason":"ALARM CORRUPT"}`,
		"/health?serializable=true&exclude=CORRUPT": `{"health":"true","reason":""}`,
	} {
		wantCode := http.StatusOK
		if path == "/readyz" || path == "/health" {
			wantCode = http.StatusServiceUnavailable
		}
		if code, got, _ := r.ask(c, http.MethodGet, r.url(path), ""); code != wantCode || got != want {
			t.Errorf("%s: %d %q", path, code, got)
		}
	}
}

func TestProfilesAreGated(t *testing.T) {
	r := startStore(t, func(c *Config) { c.HTTP.Pprof = true })
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1"} {
		if code, _, _ := r.ask(r.client(nil), http.MethodGet, r.url(path), ""); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
}

func TestGateway(t *testing.T) {
	r := startStore(t, plain)
	c := r.client(nil)
	for _, call := range []struct{ path, body, want string }{
		{"/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`, `"revision":"2"`},
		{"/v3beta/kv/range", `{"key":"Zm9v"}`, `"value":"YmFy"`},
		{"/v3/kv/txn", `{"compare":[{"target":"VERSION","key":"Zm9v","version":"1"}],"success":[{"request_range":{"key":"Zm9v"}}]}`, `"succeeded":true`},
		{"/v3/lease/grant", `{"TTL":"60","ID":"7"}`, `"TTL":"60"`},
		{"/v3/lease/leases", `{}`, `"ID":"7"`},
		{"/v3/lease/keepalive", `{"ID":"7"}`, `"result":{`},
		{"/v3/lock/lock", `{"name":"bA==","lease":"7"}`, `"key":"`},
		{"/v3/election/campaign", `{"name":"ZQ==","lease":"7","value":"bWU="}`, `"leader":{`},
		{"/v3/election/leader", `{"name":"ZQ=="}`, `"value":"bWU="`},
		{"/v3/cluster/member/list", `{}`, `"name":"m1"`},
		{"/v3/maintenance/status", `{}`, `"version":"3.`},
		{"/v3/auth/status", `{}`, `"header":`},
	} {
		if code, got, _ := r.ask(c, http.MethodPost, r.url(call.path), call.body); code != http.StatusOK || !strings.Contains(got, call.want) {
			t.Errorf("%s %s: %d %s", call.path, call.body, code, got)
		}
	}
	for _, call := range []struct {
		path, body string
		code       int
		want       string
	}{
		{"/v3/kv/range", `{"key":"Zm9v","revision":"99"}`, http.StatusBadRequest, "future revision"},
		{"/v3/kv/put", `{"key":""}`, http.StatusBadRequest, "key is not provided"},
		{"/v3/kv/range", `{"key":`, http.StatusBadRequest, "EOF"},
		{"/v3/kv/range", `{"key":"` + strings.Repeat("A", 5<<20) + `"}`, http.StatusRequestEntityTooLarge, "too large"},
		{"/v3/kv/nothing", `{}`, http.StatusNotFound, ""},
	} {
		if code, got, _ := r.ask(c, http.MethodPost, r.url(call.path), call.body); code != call.code || !strings.Contains(got, call.want) {
			t.Errorf("%s %.40s: %d %s", call.path, call.body, code, got)
		}
	}
}

// TestGatewayRefusesImpersonation asks as a Kubernetes client would that wants to act as another.
func TestGatewayRefusesImpersonation(t *testing.T) {
	r := startStore(t, plain)
	code, got, _ := r.ask(r.client(nil), http.MethodPost, r.url("/v3/kv/put"), `{"key":"Zm9v"}`, "Impersonate-User", "bob")
	if code != http.StatusForbidden || !strings.Contains(got, "does not impersonate") {
		t.Errorf("%d %s", code, got)
	}
}

func TestGatewayIsOptional(t *testing.T) {
	r := startStore(t, func(c *Config) { c.HTTP.NoGateway = true })
	if code, _, _ := r.ask(r.client(nil), http.MethodPost, r.url("/v3/kv/range"), `{"key":"Zm9v"}`); code != http.StatusNotFound {
		t.Errorf("%d", code)
	}
}

// watchAnswer is a line of a watch through the gateway.
type watchAnswer struct {
	Result struct {
		Created bool
		Events  []struct{ Kv struct{ Key, Value []byte } }
	}
	Error json.RawMessage
}

// TestGatewayWatch keeps its request open, and asks for a second watch after events of the first.
func TestGatewayWatch(t *testing.T) {
	r := startStore(t, plain)
	c := r.client(nil)
	requests, feed := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url("/v3/watch"), requests)
	if err != nil {
		t.Fatal(err)
	}
	fed := make(chan error, 1)
	next := make(chan string)
	go func() {
		for message := range next {
			if _, err := io.WriteString(feed, message); err != nil {
				fed <- err
				return
			}
		}
		fed <- feed.Close()
	}()
	next <- `{"create_request":{"key":"YQ=="}}`
	answer, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	read := func() (a watchAnswer) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the stream ended: %v", lines.Err())
		}
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil || a.Error != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		return a
	}
	expect := func(key string) {
		t.Helper()
		if a := read(); len(a.Result.Events) != 1 || string(a.Result.Events[0].Kv.Key) != key {
			t.Fatalf("got %+v, want an event of %s", a, key)
		}
	}
	if !read().Result.Created {
		t.Fatal("the watch was not created")
	}
	r.ask(c, http.MethodPost, r.url("/v3/kv/put"), `{"key":"YQ==","value":"MQ=="}`)
	expect("a")
	next <- `{"create_request":{"key":"Yg=="}}`
	if !read().Result.Created {
		t.Fatal("the second watch was not created")
	}
	close(next) // no more requests, but events still
	if err := <-fed; err != nil {
		t.Fatal(err)
	}
	r.ask(c, http.MethodPost, r.url("/v3/kv/put"), `{"key":"Yg==","value":"Mg=="}`)
	expect("b")
	r.stop() // ends the stream
	for lines.Scan() {
	}
}

func TestGatewayWebSocket(t *testing.T) {
	r := startStore(t, plain)
	conn, _, err := websocket.DefaultDialer.Dial("ws://"+r.config.ClientAddr+"/v3/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send := func(message string) {
		t.Helper()
		if err := conn.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (a watchAnswer) {
		t.Helper()
		if err := conn.ReadJSON(&a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	send(`{"create_request":{"key":"YQ=="}}`)
	if !read().Result.Created {
		t.Fatal("the watch was not created")
	}
	r.ask(r.client(nil), http.MethodPost, r.url("/v3/kv/put"), `{"key":"YQ==","value":"MQ=="}`)
	if a := read(); len(a.Result.Events) != 1 || string(a.Result.Events[0].Kv.Value) != "1" {
		t.Fatalf("%+v", a)
	}
	// A page of somebody else's is allowed here only because nothing says otherwise.
	if _, _, err := websocket.DefaultDialer.Dial("ws://"+r.config.ClientAddr+"/v3/watch", http.Header{"Origin": {"http://elsewhere"}}); err != nil {
		t.Errorf("another origin: %v", err)
	}
	r.stop() // with the socket open
}

// TestReaderThatTakesNothingHoldsNoStopUp fills a WebSocket, and a stream of the gateway, whose clients read nothing.
func TestReaderThatTakesNothingHoldsNoStopUp(t *testing.T) {
	r := startStore(t, plain)
	conn, _, err := websocket.DefaultDialer.Dial("ws://"+r.config.ClientAddr+"/v3/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"create_request":{"key":"YQ=="}}`)); err != nil {
		t.Fatal(err)
	}
	c := r.client(nil)
	response, err := c.Post(r.url("/v3/watch"), "application/json", strings.NewReader(`{"create_request":{"key":"YQ=="}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	large := base64.StdEncoding.EncodeToString(make([]byte, 1<<20))
	for range 30 {
		if code, got, _ := r.ask(c, http.MethodPost, r.url("/v3/kv/put"), `{"key":"YQ==","value":"`+large+`"}`); code != http.StatusOK {
			t.Fatalf("%d %s", code, got)
		}
	}
	r.stop()
}

func TestOriginsAndHosts(t *testing.T) {
	r := startStore(t, func(c *Config) {
		c.HTTP.CORS = []string{"http://page"}
		c.HTTP.HostWhitelist = []string{"127.0.0.1", "store"}
	})
	c := r.client(nil)
	for _, test := range []struct {
		origin, host string
		code         int
		allowed      string
	}{
		{"http://page", "store:2379", 200, "http://page"},
		{"http://elsewhere", "store", 200, ""},
		{"", "127.0.0.1:1", 200, ""},
		{"", "rebound.example", 421, ""},
	} {
		code, got, header := r.ask(c, http.MethodGet, r.url("/health"), "", "Origin", test.origin, "Host", test.host)
		if code != test.code || header.Get("Access-Control-Allow-Origin") != test.allowed {
			t.Errorf("%+v: %d %s, allowed %q", test, code, got, header.Get("Access-Control-Allow-Origin"))
		}
	}
	if code, _, header := r.ask(c, http.MethodOptions, r.url("/v3/kv/put"), "", "Origin", "http://page"); code != 200 || header.Get("Access-Control-Allow-Headers") == "" {
		t.Errorf("preflight: %d", code)
	}
	_, answer, err := websocket.DefaultDialer.Dial("ws://"+r.config.ClientAddr+"/v3/watch", http.Header{"Origin": {"http://elsewhere"}})
	if err == nil || answer == nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("a WebSocket of another origin: %v", err)
	}
}

// TestCertificatesOverHTTP has the cluster's own certificates on the port: who has none gets nothing, a node's
// tells how the member is, and the gateway does by an administrator's what it does not by a node's.
func TestCertificatesOverHTTP(t *testing.T) {
	r := startStore(t, secured)
	nobody, admin, node := r.client(nil), pki.AdminLeaf(), pki.NodeLeaf("n1")
	if answer, err := nobody.Get(r.url("/health")); err == nil {
		answer.Body.Close()
		t.Error("a caller without a certificate was answered")
	}
	if code, got, _ := r.ask(r.client(&node), http.MethodGet, r.url("/health"), ""); code != http.StatusOK {
		t.Errorf("a node's /health: %d %s", code, got)
	}
	put := `{"key":"Zm9v","value":"YmFy"}`
	if code, got, _ := r.ask(r.client(&node), http.MethodPost, r.url("/v3/kv/put"), put); code != http.StatusForbidden {
		t.Errorf("a node's put: %d %s", code, got)
	}
	if code, got, _ := r.ask(r.client(&node), http.MethodPost, r.url("/v3/watch"), `{"create_request":{"key":"Zm9v"}}`); code != http.StatusForbidden {
		t.Errorf("a node's watch: %d %s", code, got)
	}
	if code, got, _ := r.ask(r.client(&admin), http.MethodPost, r.url("/v3/kv/put"), put); code != http.StatusOK {
		t.Errorf("the administrator's put: %d %s", code, got)
	}
	dialer := websocket.Dialer{TLSClientConfig: r.tls(&admin)}
	_, answer, err := dialer.Dial("wss://"+r.config.ClientAddr+"/v3/watch", http.Header{"Origin": {"https://elsewhere"}})
	if err == nil || answer == nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("a page elsewhere used the administrator's certificate: %v", err)
	}
	conn, _, err := dialer.Dial(fmt.Sprintf("wss://%s/v3/watch", r.config.ClientAddr), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestGatewayIsNobody enables the store's users: a call through the gateway is that of its token's user, and without one nobody's, whatever
// certificate was shown. Where a certificate's name would be a user's, it is refused rather than passed over.
func TestGatewayIsNobody(t *testing.T) {
	for name, byName := range map[string]bool{"certificates are no users": false, "certificates are users": true} {
		t.Run(name, func(t *testing.T) {
			r := startStore(t, func(c *Config) { secured(c); c.KV.ClientCertAuth = byName })
			admin := pki.AdminLeaf()
			c := r.client(&admin)
			for _, call := range [][2]string{
				{"user/add", `{"name":"root","password":"pw"}`}, {"role/add", `{"name":"root"}`},
				{"user/grant", `{"user":"root","role":"root"}`}, {"enable", `{}`},
			} {
				if code, got, _ := r.ask(c, http.MethodPost, r.url("/v3/auth/"+call[0]), call[1]); code != http.StatusOK {
					t.Fatalf("%s: %d %s", call[0], code, got)
				}
			}
			put := `{"key":"Zm9v","value":"YmFy"}`
			code, got, _ := r.ask(c, http.MethodPost, r.url("/v3/kv/put"), put)
			if byName {
				if code != http.StatusBadRequest || !strings.Contains(got, "CommonName") {
					t.Errorf("a call with a certificate: %d %s", code, got)
				}
				return
			}
			if code != http.StatusBadRequest || !strings.Contains(got, "user name is empty") {
				t.Errorf("a call without a token: %d %s", code, got)
			}
			var answer struct{ Token string }
			_, got, _ = r.ask(c, http.MethodPost, r.url("/v3/auth/authenticate"), `{"name":"root","password":"pw"}`)
			if err := json.Unmarshal([]byte(got), &answer); err != nil || answer.Token == "" {
				t.Fatalf("authenticate: %s", got)
			}
			for _, prefix := range []string{"", "Bearer "} {
				if code, got, _ := r.ask(c, http.MethodPost, r.url("/v3/kv/put"), put, "Authorization", prefix+answer.Token); code != http.StatusOK {
					t.Errorf("a call with a token: %d %s", code, got)
				}
			}
			if code, got, _ := r.ask(c, http.MethodGet, r.url("/health"), ""); code != http.StatusOK {
				t.Errorf("/health: %d %s", code, got)
			}
		})
	}
}
