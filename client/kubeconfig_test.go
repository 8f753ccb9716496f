package client

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/ctlplane/ctlplane/pki"
)

func TestKubeconfigRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.kubeconfig")
	want := Access{
		Server:    "https://10.0.0.1:6443",
		Endpoints: []string{"10.0.0.1:2379", "10.0.0.2:2379"},
		Insecure:  true,
		CA:        []byte("ca"), Cert: []byte("cert"), Key: []byte("key"),
	}
	if err := WriteKubeconfig(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadKubeconfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, wrote %+v", got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: want 0600, it holds a private key", info.Mode(), err)
	}
	// kubectl reads the same file.
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != want.Server || string(config.KeyData) != "key" {
		t.Errorf("client-go read host %s and key %q", config.Host, config.KeyData)
	}
}

func TestKubeconfigWithoutAContextSaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(path, []byte("apiVersion: v1\nkind: Config\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKubeconfig(path); err == nil {
		t.Error("no error for a file with no context")
	}
}

// TestLongLivedClientShowsTheRenewedCertificate replaces a kubeconfig under a client's Config.
func TestLongLivedClientShowsTheRenewedCertificate(t *testing.T) {
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "admin.kubeconfig")
	write := func(name string) {
		t.Helper()
		cert, key, err := ca.IssuePair(pki.Leaf{CommonName: name, Client: true}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteKubeconfig(path, Access{Server: "https://10.0.0.1:6443", Endpoints: []string{"10.0.0.1:2379"}, CA: ca.CertPEM(), Cert: cert, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	config, err := OpenKubeconfig(path)
	if err != nil {
		t.Fatal(err)
	}
	shown := func() string {
		cert, err := config.TLS.GetClientCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.Subject.CommonName
	}
	if name := shown(); name != "old" || len(config.TLS.Certificates) != 0 {
		t.Errorf("shows %q", name)
	}
	write("new")
	if name := shown(); name != "new" {
		t.Errorf("shows %q after the file was replaced", name)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if name := shown(); name != "new" {
		t.Errorf("shows %q after the file was damaged", name)
	}
}
