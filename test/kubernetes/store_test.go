package main

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	adminToken = "the-token-of-this-test"
	patience   = 2 * time.Minute
)

// cluster is a stock kube-apiserver on one member of the store, as processes.
type cluster struct {
	t                  *testing.T
	dir                string
	client, peer, port string
	store              *exec.Cmd
}

// TestKubeAPIServerOnTheStore creates, reads, lists in pages, watches, changes and deletes objects through a stock kube-apiserver
// whose etcd is ctlplane, over compactions and a kill -9 of the store.
func TestKubeAPIServerOnTheStore(t *testing.T) {
	c := &cluster{t: t, dir: t.TempDir(), client: freeAddress(t), peer: freeAddress(t), port: freeAddress(t)}
	c.startStore()
	c.startAPIServer()

	c.kubectl("create", "configmap", "first", "--from-literal=a=b")
	events := c.watch()
	events.want("first")
	c.kubectl("create", "deployment", "web", "--image=web")
	c.kubectl("create", "configmap", "second", "--from-literal=a=b")
	events.want("second")

	var many strings.Builder
	for i := range 300 {
		fmt.Fprintf(&many, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: many-%03d, labels: {many: \"yes\"}}\n", i)
	}
	c.kubectlWith(many.String(), "apply", "-f", "-", "--server-side")
	if names := c.kubectl("get", "configmaps", "-l", "many=yes", "--chunk-size=50", "-o", "name"); strings.Count(names, "\n") != 300 {
		t.Errorf("a list in pages has not all 300 objects: %s", names)
	}

	c.killStore()
	c.startStore()
	c.eventually("writes after the store was killed", func() error {
		_, err := c.try("", "label", "configmap", "first", "after=restart", "--overwrite")
		return err
	})
	if data := c.kubectl("get", "configmap", "first", "-o", "jsonpath={.data.a}/{.metadata.labels.after}"); data != "b/restart" {
		t.Errorf("the object is %q after the store was killed", data)
	}
	c.kubectl("delete", "configmap", "first", "second")
	c.kubectl("delete", "configmaps", "-l", "many=yes")
	if left := c.kubectl("get", "configmaps", "-o", "name"); strings.Contains(left, "first") || strings.Contains(left, "many") {
		t.Errorf("left after the deletion: %s", left)
	}
}

func (c *cluster) startStore() {
	binary, err := filepath.Abs("../../bin/ctlplane")
	if err != nil {
		c.t.Fatal(err)
	}
	c.store = c.start("store", binary, "etcd", "--data-dir", filepath.Join(c.dir, "store"),
		"--listen-client-urls", "http://"+c.client, "--advertise-client-urls", "http://"+c.client,
		"--listen-peer-urls", "http://"+c.peer, "--initial-advertise-peer-urls", "http://"+c.peer,
		"--initial-cluster", "default=http://"+c.peer)
}

func (c *cluster) killStore() {
	_ = c.store.Process.Signal(syscall.SIGKILL)
	_ = c.store.Wait()
}

func (c *cluster) startAPIServer() {
	key := filepath.Join(c.dir, "serviceaccounts.key")
	writeKey(c.t, key)
	tokens := filepath.Join(c.dir, "tokens.csv")
	if err := os.WriteFile(tokens, []byte(adminToken+",admin,1,system:masters\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(c.port)
	c.start("kube-apiserver", apiServer(c.t), "--etcd-servers", "http://"+c.client, "--etcd-compaction-interval", "2s",
		"--bind-address", "127.0.0.1", "--secure-port", port, "--cert-dir", filepath.Join(c.dir, "certs"),
		"--service-cluster-ip-range", "10.99.0.0/16", "--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-signing-key-file", key, "--service-account-key-file", key,
		"--token-auth-file", tokens, "--authorization-mode", "RBAC")
	c.eventually("the API server to be ready", func() error { _, err := c.try("", "get", "--raw", "/readyz"); return err })
	c.eventually("the default namespace", func() error { _, err := c.try("", "get", "namespace", "default"); return err })
}

// apiServer builds the API server, which takes long the first time.
func apiServer(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "kube-apiserver")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build kube-apiserver: %v\n%s", err, out)
	}
	return path
}

func (c *cluster) start(name, binary string, args ...string) *exec.Cmd {
	log, err := os.OpenFile(filepath.Join(c.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	command := exec.Command(binary, args...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if content, err := os.ReadFile(log.Name()); c.t.Failed() && err == nil {
			c.t.Logf("%s:\n%s", name, content)
		}
	})
	return command
}

func (c *cluster) command(args ...string) *exec.Cmd {
	return exec.Command("kubectl", append([]string{
		"--server", "https://" + c.port, "--insecure-skip-tls-verify", "--token", adminToken, "--kubeconfig", "/dev/null",
	}, args...)...)
}

func (c *cluster) try(input string, args ...string) (string, error) {
	command := c.command(args...)
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (c *cluster) kubectlWith(input string, args ...string) string {
	c.t.Helper()
	out, err := c.try(input, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	return c.kubectlWith("", args...)
}

// watched is the output of a running kubectl get --watch.
type watched struct {
	t     *testing.T
	lines chan string
}

func (c *cluster) watch() *watched {
	command := c.command("get", "configmaps", "--watch", "-o", "name")
	out, err := command.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		c.t.Fatal(err)
	}
	w := &watched{t: c.t, lines: make(chan string, 1024)}
	go func() {
		defer close(w.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			w.lines <- scanner.Text()
		}
	}()
	c.t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return w
}

func (w *watched) want(name string) {
	w.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line, open := <-w.lines:
			if !open {
				w.t.Fatalf("the watch ended before %s was seen", name)
			}
			if line == "configmap/"+name {
				return
			}
		case <-timeout:
			w.t.Fatalf("the watch has not shown %s", name)
		}
	}
}

func (c *cluster) eventually(what string, try func() error) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited for %s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func freeAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func writeKey(t *testing.T, path string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(path, block, 0o600); err != nil {
		t.Fatal(err)
	}
}
