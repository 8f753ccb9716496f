package rest_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/ctlplane/ctlplane/apiserver/rest"
)

func TestNodeClient(t *testing.T) {
	node := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/containerLogs/default/p/c":
			_, _ = io.WriteString(w, "line "+r.URL.Query().Get("tailLines"))
		case "/forbidden":
			http.Error(w, "not you", http.StatusForbidden)
		default:
			http.Error(w, "container is not there", http.StatusNotFound)
		}
	}))
	defer node.Close()
	config := node.Client().Transport.(*http.Transport).TLSClientConfig
	client := rest.NewNodeClient(config)
	defer client.Close()
	address := strings.TrimPrefix(node.URL, "https://")
	stream, err := client.Open(t.Context(), address, "/containerLogs/default/p/c", url.Values{"tailLines": {"3"}})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if text, err := io.ReadAll(stream); err != nil || string(text) != "line 3" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := client.Open(t.Context(), address, "/other", nil); !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "container is not there") {
		t.Errorf("a missing container: %v", err)
	}
	if _, err := client.Open(t.Context(), address, "/forbidden", nil); apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "refuses this server") {
		t.Errorf("an agent that refuses the server: %v", err)
	}
	node.Close()
	if _, err := client.Open(t.Context(), address, "/other", nil); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("an agent that is gone: %v", err)
	}
	stranger := rest.NewNodeClient(&tls.Config{MinVersion: tls.VersionTLS12})
	defer stranger.Close()
	if _, err := stranger.Open(t.Context(), address, "/other", nil); err == nil {
		t.Error("an agent that nobody vouches for was trusted")
	}
}
