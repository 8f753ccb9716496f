package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ctlplane/ctlplane/client"
)

// freeAddress is one of the loopback range that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// startEtcd runs `ctlplane etcd` until the test ends, and tells when it is ready.
func startEtcd(t *testing.T, env []string, args ...string) (ready <-chan bool) {
	t.Helper()
	command := exec.Command(binary, append([]string{"etcd"}, args...)...)
	command.Env = append(os.Environ(), env...)
	logs, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	told := make(chan bool, 1)
	ended := make(chan error, 1)
	go func() {
		for scanner := bufio.NewScanner(logs); scanner.Scan(); {
			if strings.Contains(scanner.Text(), "ready to serve client requests") {
				told <- true
			}
		}
		ended <- command.Wait()
		close(told)
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Errorf("etcd: %v", err)
		}
	})
	return told
}

// TestEtcdInPlaceOfEtcd starts three members with etcd's flags and variables, and uses them with etcdctl.
func TestEtcdInPlaceOfEtcd(t *testing.T) {
	dir := t.TempDir()
	var cluster, endpoints []string
	peers, clients := map[string]string{}, map[string]string{}
	for _, name := range []string{"a", "b", "c"} {
		peers[name], clients[name] = freeAddress(t), freeAddress(t)
		cluster = append(cluster, name+"=http://"+peers[name])
		endpoints = append(endpoints, clients[name])
	}
	var all []<-chan bool
	for name := range peers {
		all = append(all, startEtcd(t, []string{"ETCD_DATA_DIR=" + filepath.Join(dir, name), "ETCD_INITIAL_CLUSTER=" + strings.Join(cluster, ",")},
			"--name", name, "--initial-cluster-token", "a-token-that-is-long-enough",
			"--listen-client-urls", "http://"+clients[name], "--advertise-client-urls", "http://"+clients[name],
			"--listen-peer-urls", "http://"+peers[name], "--initial-advertise-peer-urls", "http://"+peers[name]))
	}
	for _, ready := range all {
		if !<-ready {
			t.Fatal("a member ended before it was ready")
		}
	}
	e := etcdctl(t, client.Access{Endpoints: endpoints, Insecure: true})
	e.run("put", "key", "value")
	for _, endpoint := range endpoints {
		one := etcdctl(t, client.Access{Endpoints: []string{endpoint}, Insecure: true})
		if got := one.run("get", "key"); got != "key\nvalue\n" {
			t.Errorf("%s: %q", endpoint, got)
		}
	}
	contains(t, e.run("member", "list"), "http://"+clients["a"], "http://"+clients["b"], "http://"+clients["c"])

	s := shell{t: t, path: binary}
	s.refuse("", []string{"unknown flag"}, "etcd", "--no-such-flag")
	s.refuse("", []string{"not one URL"}, "etcd", "--listen-client-urls", "localhost", "--data-dir", filepath.Join(dir, "d"))
	s.refuse("", []string{"--cert-file"}, "etcd", "--listen-client-urls", "https://127.0.0.1:1", "--data-dir", filepath.Join(dir, "d"))
}

// TestNodeCannotJoinPlainText refuses a node whose only way to the masters would be a port in plain text.
func TestNodeCannotJoinPlainText(t *testing.T) {
	c := start(t, 1, 0, "--kv-insecure")
	s := ctlplane(t, c.Kubeconfig())
	token := strings.TrimSpace(s.run("token", "create"))
	server := strings.TrimPrefix(c.Masters[0].Access.Server, "https://")
	s.refuse("", []string{"plain text", "--kv-insecure"}, "join", server, "--name", "n", "--token", token, "--data-dir", fmt.Sprint(t.TempDir(), "/n"))
}
