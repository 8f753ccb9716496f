package rest_test

import (
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/registry/registrytest"
	"github.com/ctlplane/ctlplane/apiserver/rest"
)

// eventually bounds the waits of these tests.
const eventually = 60 * time.Second

// tokens is an authenticator of bearer tokens.
type tokens map[string]auth.User

func (t tokens) Authenticate(_ context.Context, c auth.Credentials) (auth.User, bool, error) {
	user, ok := t[c.Bearer]
	return user, ok, nil
}

var users = tokens{
	"admin":  {Name: "admin", Groups: []string{auth.GroupMasters}},
	"node":   {Name: auth.NodePrefix + "n1", Groups: []string{auth.GroupNodes}},
	"nobody": {Name: "nobody"},
}

// cluster is an API server over a real store, reached over TLS.
type cluster struct {
	*httptest.Server
	registry *registry.Registry
	storage  *registrytest.Storage
}

func newCluster(t testing.TB, change func(*rest.Options)) *cluster {
	t.Helper()
	storage := registrytest.NewStorage(t)
	objects := registrytest.New(t, storage, registry.Options{Logger: slog.New(slog.DiscardHandler)})
	opts := rest.Options{Registry: objects, Authenticator: users, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&opts)
	}
	handler, err := rest.NewHandler(opts)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return &cluster{Server: server, registry: objects, storage: storage}
}

func (c *cluster) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})
}

// config is of a client with the token, that speaks the content type.
func (c *cluster) config(token, contentType string) *restclient.Config {
	return &restclient.Config{
		Host: c.URL, BearerToken: token, QPS: -1,
		TLSClientConfig: restclient.TLSClientConfig{CAData: c.ca()},
		ContentConfig:   restclient.ContentConfig{ContentType: contentType},
	}
}

func (c *cluster) clientset(t testing.TB, contentType string) *kubernetes.Clientset {
	t.Helper()
	set, err := kubernetes.NewForConfig(c.config("admin", contentType))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// kubeconfig writes a kubeconfig of the admin's and gives its path.
func (c *cluster) kubeconfig(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: c.URL, CertificateAuthorityData: c.ca()}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"admin": {Token: "admin"}},
		Contexts:       map[string]*clientcmdapi.Context{"c": {Cluster: "c", AuthInfo: "admin"}},
		CurrentContext: "c",
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// answer is what came of a request.
type answer struct {
	code   int
	header http.Header
	body   string
}

// ask makes a request; headers come as name, value, name, value.
func (c *cluster) ask(t testing.TB, token, method, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

func writeFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
