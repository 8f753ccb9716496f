package e2e

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// found is a file as etcd's users publish them, with places of this machine's for those that it names.
type found struct {
	t     *testing.T
	dir   string // for data and certificates
	ports map[string]string
	place *strings.Replacer
}

// otherAddress is this machine's, beside 127.0.0.1.
const otherAddress = "127.0.0.2"

func newFound(t *testing.T, dir string) *found {
	f := &found{t: t, dir: dir, ports: map[string]string{}}
	pairs := []string{"192.0.2.11", otherAddress, "/etcd-data", filepath.Join(dir, "data"), "/var/lib/etcd", filepath.Join(dir, "data"),
		"/etc/kubernetes/pki/etcd", dir, "/etc/ssl/etcd/ssl", dir, "/etc/etcd.env", filepath.Join(dir, "etcd.env")}
	for _, port := range []string{"2379", "2380", "2381"} {
		_, free, err := net.SplitHostPort(freeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		f.ports[port] = free
		pairs = append(pairs, ":"+port, ":"+free)
	}
	f.place = strings.NewReplacer(pairs...)
	return f
}

func (f *found) read(name string) string {
	f.t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "found", name))
	if err != nil {
		f.t.Fatal(err)
	}
	return f.place.Replace(string(content))
}

// variables are the lines of a file that set some.
func variables(content string) []string {
	var set []string
	for line := range strings.Lines(content) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			set = append(set, line)
		}
	}
	return set
}

// backUp does what scripts do every night: a health check, a snapshot, and a look at it.
func backUp(t *testing.T, e shell) {
	t.Helper()
	contains(t, e.run("endpoint", "health", "--cluster", "-w", "json"), `"health":true`)
	e.run("put", "registry/key", "value")
	file := filepath.Join(t.TempDir(), "backup.db")
	e.run("snapshot", "save", file)
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Errorf("the snapshot: %v", err)
	}
	if got := e.run("get", "registry/", "--prefix"); got != "registry/key\nvalue\n" {
		t.Errorf("got %q", got)
	}
}

// TestEtcdOfAComposeFile starts what such a file starts, of which clients are told an address that they can call.
func TestEtcdOfAComposeFile(t *testing.T) {
	f := newFound(t, t.TempDir())
	var compose struct {
		Services map[string]struct {
			Environment []string `json:"environment"`
			Command     string   `json:"command"`
		} `json:"services"`
	}
	if err := yaml.Unmarshal([]byte(f.read("compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	service := compose.Services["etcd"]
	p := startEtcd(t, service.Environment, strings.Fields(service.Command)[1:]...)
	p.waitReady()
	e := shell{t: t, path: "etcdctl", env: []string{"ETCDCTL_API=3", "ETCDCTL_ENDPOINTS=http://127.0.0.1:" + f.ports["2379"]}}
	backUp(t, e)
	if list := e.run("member", "list"); strings.Contains(list, "0.0.0.0") || !strings.Contains(list, "etcd_0") {
		t.Errorf("the list of members: %s", list)
	}
	if !p.logged("ETCD_ENABLE_V2") && !p.logged("--enable-v2 has no effect") {
		t.Errorf("nothing is told of ETCD_ENABLE_V2:\n%s", p.logs())
	}
}

// TestEtcdOfAUnitFile starts a role's service with its variables, and is told that it is ready as systemd is.
func TestEtcdOfAUnitFile(t *testing.T) {
	a := newUserCA(t)
	a.issue("member", "127.0.0.1", otherAddress, "localhost", "etcd1")
	a.issue("admin")
	f := newFound(t, a.dir)
	if err := os.WriteFile(filepath.Join(a.dir, "etcd.env"), []byte(f.read("etcd.env")), 0o600); err != nil {
		t.Fatal(err)
	}
	unit := map[string]string{}
	for _, line := range variables(f.read("etcd.service")) {
		if name, value, is := strings.Cut(line, "="); is {
			unit[name] = value
		}
	}
	content, err := os.ReadFile(unit["EnvironmentFile"])
	if err != nil {
		t.Fatal(err)
	}
	env := variables(string(content))
	if unit["Type"] != "notify" {
		t.Fatalf("the unit is %v", unit)
	}
	sockets, err := os.MkdirTemp("", "notify-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(sockets)
	notified, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(sockets, "s"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notified.Close()
	args := strings.Fields(unit["ExecStart"])[1:]
	p := startEtcd(t, append(env, "NOTIFY_SOCKET="+notified.LocalAddr().String()), args...)
	p.waitReady()
	if err := notified.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 64)
	if n, err := notified.Read(said); err != nil || string(said[:n]) != "READY=1" {
		t.Errorf("systemd is told %q: %v", said[:n], err)
	}
	backUp(t, shell{t: t, path: "etcdctl", env: env})
	if !p.logged("--experimental-initial-corrupt-check is --feature-gates=InitialCorruptCheck=true") {
		t.Errorf("nothing is told of the old spelling:\n%s", p.logs())
	}
}

// TestEtcdOfAKubeadmManifest starts a control plane's etcd with certificates where kubeadm puts them, and probes it as a kubelet does.
func TestEtcdOfAKubeadmManifest(t *testing.T) {
	a := newUserCA(t)
	for _, name := range []string{"server", "peer", "healthcheck-client"} {
		cert, key := a.issue(name, "127.0.0.1", otherAddress, "localhost", "Node-1.example")
		for from, to := range map[string]string{cert: name + ".crt", key: name + ".key"} {
			if err := os.Rename(from, a.path(to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Rename(a.path("ca.pem"), a.path("ca.crt")); err != nil {
		t.Fatal(err)
	}
	f := newFound(t, a.dir)
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(f.read("kubeadm.yaml")), &pod); err != nil {
		t.Fatal(err)
	}
	container := pod.Spec.Containers[0]
	startEtcd(t, nil, container.Command[1:]...).waitReady()
	for _, probe := range []*corev1.Probe{container.LivenessProbe, container.ReadinessProbe, container.StartupProbe} {
		response, err := http.Get("http://" + probe.HTTPGet.Host + ":" + f.ports[probe.HTTPGet.Port.String()] + probe.HTTPGet.Path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", probe.HTTPGet.Path, response.Status)
		}
	}
	backUp(t, shell{t: t, path: "etcdctl", env: []string{
		"ETCDCTL_API=3", "ETCDCTL_ENDPOINTS=https://127.0.0.1:" + f.ports["2379"], "ETCDCTL_CACERT=" + a.path("ca.crt"),
		"ETCDCTL_CERT=" + a.path("healthcheck-client.crt"), "ETCDCTL_KEY=" + a.path("healthcheck-client.key"),
	}})
}
