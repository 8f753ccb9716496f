package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctlplane/ctlplane/api/resource"
)

const example = "../../examples/web.yaml"

// TestKubectl goes through a workload's life with the machine's own kubectl.
func TestKubectl(t *testing.T) {
	c := start(t, 3, 2)
	k := kubectl(t, c.Kubeconfig())

	contains(t, k.run("get", "nodes", "-o", "wide"), "n1", "n2", "Ready", "CONTAINER-RUNTIME")
	contains(t, k.run("apply", "-f", example), "deployment.apps/web created", "service/web created")
	contains(t, k.run("rollout", "status", "deployment/web", "--timeout=60s"), "successfully rolled out")
	contains(t, k.run("apply", "-f", example), "deployment.apps/web unchanged", "service/web unchanged")
	contains(t, k.run("get", "deploy,rs,pods,svc,endpointslices", "-A", "-o", "wide"),
		"deployment.apps/web", "3/3", "replicaset.apps/web-", "pod/web-", "service/web", "endpointslice.discovery.k8s.io/web-", "Running")

	pod := strings.TrimSpace(k.run("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"))
	contains(t, k.run("describe", "pod", pod), "Name:", pod, "Events:", "Started", "Scheduled")
	contains(t, k.run("describe", "deployment", "web"), "NewReplicaSet:", "3 available")
	contains(t, k.run("get", "events"), "SuccessfulCreate", "Scheduled", "Started")
	describesWithoutTheYearOne(t, k)
	contains(t, k.run("logs", pod), "serv")
	contains(t, k.run("logs", "--tail=1", pod), "serv")

	followed := k.follow("logs", "-f", pod)
	followed.until("serves on")
	watched := k.follow("get", "pods", "-l", "app=web", "-w")
	watched.until(pod)
	k.run("scale", "deployment/web", "--replicas=4")
	watched.until("0/1") // the fourth pod: the others are ready
	watched.until("1/1")
	watched.stop()
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	contains(t, k.run("get", "deployment", "web"), "4/4")
	k.run("label", "pod", pod, "tier=front")
	contains(t, k.run("get", "pods", "-l", "tier=front"), pod)
	k.run("annotate", "deployment", "web", "note=hello")
	k.run("patch", "deployment", "web", "-p", `{"spec":{"template":{"metadata":{"labels":{"round":"2"}}}}}`)
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	contains(t, k.run("rollout", "history", "deployment/web"), "1", "2")
	k.run("rollout", "undo", "deployment/web")
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	contains(t, k.run("explain", "deployment.spec.replicas"), "Number of desired pods")
	contains(t, k.run("api-resources"), "deployments", "endpointslices", "apps/v1")
	k.run("wait", "--for=condition=Available", "deployment/web", "--timeout=60s")

	k.run("delete", "-f", example)
	followed.until("ended") // the demo's last word; the log's end ends the command
	followed.stop()
	eventually(t, "the pods to be gone", func() bool { return strings.TrimSpace(k.run("get", "pods", "-o", "name")) == "" })
	contains(t, k.run("create", "namespace", "gone"), "created")
	k.run("create", "configmap", "settings", "--from-literal=a=b", "-n", "gone")
	k.run("delete", "namespace", "gone", "--timeout=60s")
	k.refuse("", []string{"not found"}, "get", "configmap", "settings", "-n", "gone")
}

// describesWithoutTheYearOne describes all objects of all kinds: a time that nobody has set shows as one of the year 1.
func describesWithoutTheYearOne(t *testing.T, k shell) {
	t.Helper()
	for _, info := range resource.All() {
		for line := range strings.Lines(k.run("describe", info.Resource, "-A")) {
			if unsetTime.MatchString(line) || strings.Contains(line, "<unknown>") {
				t.Errorf("describe %s shows a time that nobody set: %q", info.Resource, line)
			}
		}
	}
}

// TestRollingUpdateAlwaysHasAReadyReplica watches the service's endpoints while an image rolls.
func TestRollingUpdateAlwaysHasAReadyReplica(t *testing.T) {
	c := start(t, 1, 1)
	k := kubectl(t, c.Kubeconfig())
	k.run("apply", "-f", example)
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	least := make(chan int)
	stop := make(chan struct{})
	go func() {
		fewest := 3
		for {
			out, err := k.try("", "get", "endpointslices", "-l", "kubernetes.io/service-name=web",
				"-o", `jsonpath={range .items[*].endpoints[*]}{.conditions.ready}{"\n"}{end}`)
			if err == nil {
				fewest = min(fewest, strings.Count(out, "true"))
			}
			select {
			case <-stop:
				least <- fewest
				return
			default:
			}
		}
	}()
	k.run("set", "image", "deployment/web", "web=ctlplane.local/demo:v2")
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	close(stop)
	if fewest := <-least; fewest < 3 {
		t.Errorf("at one moment %d replicas were ready; maxUnavailable is 0 of 3", fewest)
	}
	contains(t, k.run("get", "pods", "-o", "jsonpath={..image}"), "ctlplane.local/demo:v2")
}

// TestBadInputIsRefused gives the cluster what it must not take, and looks that nothing changed.
func TestBadInputIsRefused(t *testing.T) {
	c := start(t, 1, 0)
	for _, s := range []shell{kubectl(t, c.Kubeconfig()), ctlplane(t, c.Kubeconfig())} {
		t.Run(filepath.Base(s.path), func(t *testing.T) {
			s.t = t
			s.refuse("apiVersion: v1\nkind: ConfigMap\nmetadata: [", []string{"error"}, "apply", "-f", "-")
			s.refuse("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\nspec:\n  foo: 1\n", []string{"unknown field", "spec"}, "create", "-f", "-")
			s.refuse("apiVersion: v1\nkind: Unheardof\nmetadata:\n  name: a\n", []string{"Unheardof"}, "create", "-f", "-")
			s.refuse("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: Bad_Name\n", []string{"invalid", "RFC 1123"}, "create", "-f", "-")
			s.refuse("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: c}}\n    spec: {containers: [{name: c, image: i}]}\n",
				[]string{"selector", "does not match"}, "create", "-f", "-")

			s.run("create", "configmap", "taken")
			s.refuse("", []string{"already exists"}, "create", "configmap", "taken")
			stale := s.run("get", "configmap", "taken", "-o", "json")
			s.run("label", "configmap", "taken", "changed=yes")
			s.refuse(stale, []string{"the object has been modified"}, "replace", "-f", "-")
			contains(t, s.run("get", "configmap", "taken", "--show-labels"), "changed=yes")

			large := filepath.Join(t.TempDir(), "large")
			if err := os.WriteFile(large, make([]byte, 3<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			s.refuse("", []string{"large"}, "create", "configmap", "large", "--from-file", large)
			s.refuse("", []string{"not found"}, "get", "configmap", "large")
			s.refuse("", []string{"not found"}, "create", "configmap", "a", "-n", "nowhere")
			s.run("delete", "configmap", "taken")
		})
	}
	t.Run("key-value", func(t *testing.T) {
		kv := ctlplane(t, c.Kubeconfig())
		kv.refuse("", []string{"key is not provided"}, "kv", "put", "", "value")
		kv.refuse("", []string{"requested lease not found"}, "kv", "put", "--lease=1234", "key", "value")
		kv.refuse("", []string{"requested lease not found"}, "kv", "lease", "revoke", "1234")
		kv.refuse(strings.Repeat("x", 2<<20-512), []string{"too large"}, "kv", "put", "key")
		if out := kv.run("kv", "get", "--prefix", "key"); out != "" {
			t.Errorf("a refused write left something: %.200s", out)
		}
	})
	t.Run("credentials", func(t *testing.T) {
		config := filepath.Join(t.TempDir(), "config")
		server := c.Masters[0].Access.Server
		content := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]\n"+
			"users: [{name: u, user: {token: wrong}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n", server)
		if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		kubectl(t, config).refuse("", []string{"logged in"}, "get", "pods")
	})
}

// TestNoClusterSaysSo runs commands where there is nothing to talk to.
func TestNoClusterSaysSo(t *testing.T) {
	s := shell{t: t, path: binary, env: []string{"KUBECONFIG=", "HOME=" + t.TempDir(), "CTLPLANE_DATA_DIR=" + t.TempDir()}}
	for _, command := range [][]string{{"get", "pods"}, {"status"}, {"kv", "get", "a"}, {"token", "list"}} {
		s.refuse("", []string{"no cluster is known here", "ctlplane dev"}, command...)
	}
	s.run("config", "get-contexts")
	s.run("version")
	s.run("completion", "bash")
}

// TestMasterRefusesWhatItCannotRun starts masters with what must not work.
func TestMasterRefusesWhatItCannotRun(t *testing.T) {
	c := start(t, 1, 0)
	m := c.Masters[0]
	s := shell{t: t, path: binary}
	dir := t.TempDir()
	secret := "0123456789abcdef0123456789"
	addresses := []string{"--peer-addr", freeAddress(t), "--client-addr", freeAddress(t), "--api-addr", freeAddress(t)}
	s.refuse("", []string{"in use"}, append([]string{"init", "--data-dir", m.DataDir, "--token", secret}, addresses...)...)
	s.refuse("", []string{"does not name this machine", "--name"}, append([]string{"init", "--data-dir", dir, "--token", secret, "--peers", "a=198.51.100.1,b=198.51.100.2"}, addresses...)...)
	taken := strings.TrimPrefix(m.Access.Server, "https://")
	s.refuse("", []string{"taken", taken}, "init", "--data-dir", filepath.Join(dir, "port"), "--token", secret, "--peer-addr", taken)
	s.refuse("", []string{"token"}, "join", taken, "--data-dir", filepath.Join(dir, "node"), "--token", secret)
	s.refuse("", []string{"token"}, "join", taken, "--data-dir", filepath.Join(dir, "node"), "--token", "short")

	nodeToken := strings.TrimSpace(ctlplane(t, c.Kubeconfig()).run("token", "create"))
	s.refuse("", []string{"for nodes", "--master"}, append([]string{"join", taken, "--master", "--data-dir", filepath.Join(dir, "master"), "--token", nodeToken}, addresses...)...)
	m.Kill()
	s.refuse("", []string{"another cluster"}, append([]string{"init", "--data-dir", m.DataDir, "--token", secret}, addresses...)...)
	if err := c.StartMaster(m); err != nil {
		t.Fatal(err)
	}
	ctlplane(t, c.Kubeconfig()).run("get", "namespaces") // nothing of all this has changed it
}
