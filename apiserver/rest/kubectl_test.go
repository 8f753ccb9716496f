package rest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// kubectl runs the machine's kubectl against the cluster.
type kubectl struct {
	t      testing.TB
	config string
	home   string
}

func newKubectl(t testing.TB, c *cluster) *kubectl {
	return &kubectl{t: t, config: c.kubeconfig(t), home: t.TempDir()}
}

func (k *kubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+k.config, "HOME="+k.home)
	return cmd
}

func (k *kubectl) try(args ...string) (string, error) {
	out, err := k.command(k.t.Context(), args...).CombinedOutput()
	return string(out), err
}

func (k *kubectl) run(args ...string) string {
	k.t.Helper()
	out, err := k.try(args...)
	if err != nil {
		k.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// minor is the machine's kubectl's own version, after the "1.".
func (k *kubectl) minor() int {
	k.t.Helper()
	var version struct {
		ClientVersion struct{ Minor string }
	}
	out := k.run("version", "--client", "-o", "json")
	if err := json.Unmarshal([]byte(out), &version); err != nil {
		k.t.Fatalf("%v: %s", err, out)
	}
	minor, err := strconv.Atoi(strings.TrimSuffix(version.ClientVersion.Minor, "+"))
	if err != nil {
		k.t.Fatal(err)
	}
	return minor
}

// expect runs kubectl and wants each of the texts in what it says.
func (k *kubectl) expect(texts []string, args ...string) {
	k.t.Helper()
	out := k.run(args...)
	for _, text := range texts {
		if !strings.Contains(out, text) {
			k.t.Errorf("kubectl %s: no %q in\n%s", strings.Join(args, " "), text, out)
		}
	}
}

// reject runs kubectl, which must fail and say each of the texts.
func (k *kubectl) reject(texts []string, args ...string) {
	k.t.Helper()
	out, err := k.try(args...)
	if err == nil {
		k.t.Errorf("kubectl %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			k.t.Errorf("kubectl %s: no %q in\n%s", strings.Join(args, " "), text, out)
		}
	}
}

const webManifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "ctlplane.local/demo", ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

func TestKubectl(t *testing.T) {
	k := newKubectl(t, newCluster(t, nil))
	k.expect([]string{"default", "kube-system", "Active"}, "get", "namespaces")
	k.expect([]string{"deployments", "deploy", "replicasets", "po"}, "api-resources")
	k.expect([]string{"10.43.0.1"}, "get", "service", "kubernetes")
	file := writeFile(t, webManifest)
	k.expect([]string{"deployment.apps/web created", "service/web created"}, "apply", "-f", file)
	k.expect([]string{"deployment.apps/web unchanged", "service/web unchanged"}, "apply", "-f", file)
	k.expect([]string{"web", "0/3"}, "get", "deploy", "web")
	k.expect([]string{"scaled"}, "scale", "deploy", "web", "--replicas=5")
	k.expect([]string{"0/5"}, "get", "deploy")
	k.expect([]string{"serverside-applied"}, "apply", "--server-side", "--force-conflicts", "-f", file)
	k.expect([]string{"patched"}, "patch", "deploy", "web", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"b"}]}]}}}}`)
	k.expect([]string{"patched"}, "patch", "deploy", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/replicas","value":2}]`)
	k.expect([]string{"name: A", "image: ctlplane.local/demo", "replicas: 2"}, "get", "deploy", "web", "-o", "yaml")
	k.expect([]string{"labeled"}, "label", "deploy", "web", "tier=front")
	k.expect([]string{"annotated"}, "annotate", "deploy", "web", "why=test")
	k.expect([]string{"image updated"}, "set", "image", "deploy/web", "web=other")
	k.expect([]string{"tier=front", "other"}, "describe", "deploy", "web")
	k.expect([]string{"configmap/settings created"}, "create", "configmap", "settings", "--from-literal=a=b")
	k.expect([]string{"secret/s created"}, "create", "secret", "generic", "s", "--from-literal=a=b")
	k.expect([]string{"namespace/team created"}, "create", "namespace", "team")
	k.expect([]string{"pod/one created"}, "run", "one", "--image=image", "--restart=Never")
	k.expect([]string{"one", "Pending"}, "get", "pods", "-o", "wide")
	k.expect([]string{"deployment.apps/web", "service/web", "pod/one"}, "get", "all")
	k.expect([]string{"created (server dry run)"}, "create", "configmap", "dry", "--dry-run=server")
	k.reject([]string{"NotFound", `configmaps "dry" not found`}, "get", "configmap", "dry")
	k.expect([]string{`pod "one" deleted`}, "delete", "pod", "one")
	k.expect([]string{`"web" deleted`}, "delete", "-f", file)
	k.expect([]string{"No resources found"}, "get", "pods")
}

// TestKubectlHabits runs the commands that ask the server for more than objects.
func TestKubectlHabits(t *testing.T) {
	c := newCluster(t, nil)
	k := newKubectl(t, c)
	file := writeFile(t, webManifest)
	k.run("apply", "-f", file)
	k.expect([]string{"Server Version", "+ctlplane"}, "version")
	k.expect([]string{"is running at"}, "cluster-info")
	k.expect([]string{"replicas", "<integer>"}, "explain", "deployment.spec.replicas")
	if out, err := k.try("diff", "-f", writeFile(t, strings.Replace(webManifest, "replicas: 3", "replicas: 8", 1))); err == nil || !strings.Contains(out, "+  replicas: 8") {
		t.Errorf("diff: %v\n%s", err, out)
	}
	k.expect([]string{"replaced"}, "replace", "-f", file)
	k.expect([]string{"restarted"}, "rollout", "restart", "deploy/web")
	k.run("create", "-f", writeFile(t, "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"))
	k.expect([]string{"cordoned"}, "cordon", "n1")
	k.expect([]string{"SchedulingDisabled"}, "get", "nodes", "-o", "wide")
	k.expect([]string{"tainted"}, "taint", "node", "n1", "a=b:NoSchedule")
	k.expect([]string{"Unschedulable:      true"}, "describe", "node", "n1")
	k.run("create", "-f", writeFile(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: n1, containers: [{name: c, image: i}]}\n"))
	modern := k.minor() >= 23 // Debian 12's own is 1.20: it drains only where there are resource definitions, and waits for less
	if modern {
		k.expect([]string{"evicting pod default/p"}, "drain", "n1", "--force", "--ignore-daemonsets", "--dry-run=server")
	}
	k.expect([]string{"force deleted"}, "delete", "pod", "p", "--force")
	k.expect([]string{"[web]"}, "get", "deploy,svc", "-l", "app=web", "-o", `jsonpath={.items[*].metadata.name}{"\n"}[{.items[0].metadata.name}]`)
	k.expect([]string{"kubernetes"}, "get", "svc", "--sort-by=.metadata.name", "-A")
	if modern {
		k.expect(nil, "wait", "--for=delete", "pod/p", "--timeout=5s")
		k.expect([]string{"yes"}, "wait", "--for=jsonpath={.spec.replicas}=3", "deploy/web", "--timeout=5s", "-o", "jsonpath=yes")
	}
}

func TestKubectlBadInput(t *testing.T) {
	k := newKubectl(t, newCluster(t, nil))
	file := func(text string) string { return writeFile(t, text) }
	configMap := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	k.reject([]string{"error converting YAML to JSON"}, "create", "-f", file("a: [\n"))
	k.reject([]string{`unknown field "dat"`}, "create", "-f", file(configMap+"dat: {}\n"))
	k.reject([]string{`no matches for kind "Nothing"`}, "create", "-f", file("apiVersion: v1\nkind: Nothing\nmetadata: {name: a}\n"))
	k.run("create", "-f", file(configMap))
	k.reject([]string{"AlreadyExists", `configmaps "a" already exists`}, "create", "-f", file(configMap))
	k.reject([]string{"Conflict", "the object has been modified"}, "replace", "-f",
		file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, resourceVersion: \"1\"}\ndata: {x: z}\n"))
	k.reject([]string{"RequestEntityTooLarge", "limit is"}, "create", "-f", file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\ndata: {x: "+strings.Repeat("x", 4<<20)+"}\n"))
	k.reject([]string{`namespaces "nowhere" not found`}, "create", "configmap", "b", "-n", "nowhere")
	k.reject([]string{"Invalid", "is invalid"}, "create", "-f", file("apiVersion: v1\nkind: Pod\nmetadata: {name: UPPER}\nspec: {containers: [{name: c, image: i}]}\n"))
}

func TestKubectlWatch(t *testing.T) {
	k := newKubectl(t, newCluster(t, nil))
	ctx, cancel := context.WithTimeout(t.Context(), eventually)
	defer cancel()
	watching := k.command(ctx, "get", "pods", "-w", "--output-watch-events")
	out, err := watching.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	k.run("run", "zero", "--image=image")
	if err := watching.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	wait := func(event, name string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), event) && strings.Contains(lines.Text(), name) {
				return
			}
		}
		t.Fatalf("%s of %s was not seen", event, name)
	}
	wait("ADDED", "zero")
	k.run("run", "one", "--image=image")
	wait("ADDED", "one")
	k.run("delete", "pod", "one")
	wait("DELETED", "one")
	cancel()
	_ = watching.Wait() // it was killed
}
