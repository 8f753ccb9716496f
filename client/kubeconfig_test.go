package client

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
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
