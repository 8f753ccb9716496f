package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// use is one run of a command of kubectl's that is in the binary.
type use struct {
	path  string // the command
	args  string // after it
	input string // typed, or read from standard input
	want  string // a part of what it prints
}

const settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n"

// uses has every command of kubectl's that works, in an order in which each finds what it needs. $DIR is a directory, $CERT and $KEY are files.
var uses = []use{
	{"api-resources", "", "", "deployments"},
	{"api-versions", "", "", "apps/v1"},
	{"cluster-info", "", "", "running at"},
	{"explain", "pod.spec.containers", "", "Container"},
	{"create namespace", "other", "", "created"},
	{"create configmap", "made --from-literal a=b", "", "created"},
	{"create secret generic", "generic --from-literal a=b", "", "created"},
	{"create secret docker-registry", "registry --docker-username u --docker-password p", "", "created"},
	{"create secret tls", "tls --cert $CERT --key $KEY", "", "created"},
	{"create serviceaccount", "robot", "", "created"},
	{"create service clusterip", "inside --tcp 80:80", "", "created"},
	{"create service nodeport", "outside --tcp 80:80", "", "created"},
	{"create service loadbalancer", "balanced --tcp 80:80", "", "created"},
	{"create service externalname", "elsewhere --external-name example.org", "", "created"},
	{"create deployment", "web --image ctlplane.local/demo --replicas 2", "", "created"},
	{"rollout status", "deployment/web --timeout 60s", "", "successfully rolled out"},
	{"wait", "--for=condition=Available deployment/web --timeout 60s", "", "condition met"},
	{"get", "deployment/web", "", "2/2"},
	{"describe", "deployment/web", "", "NewReplicaSet"},
	{"logs", "deployment/web", "", "serves on"},
	{"events", "", "", "ScalingReplicaSet"},
	{"expose", "deployment/web --port 80 --target-port 8080", "", "exposed"},
	{"label", "deployment/web tier=front", "", "labeled"},
	{"annotate", "deployment/web note=hello", "", "annotated"},
	{"patch", `deployment/web -p {"spec":{"minReadySeconds":1}}`, "", "patched"},
	{"scale", "deployment/web --replicas 1", "", "scaled"},
	{"set env", "deployment/web A=B", "", "updated"},
	{"set image", "deployment/web demo=ctlplane.local/demo:v2", "", "updated"},
	{"set resources", "deployment/web --requests cpu=10m", "", "updated"},
	{"set selector", "service/inside app=web", "", "updated"},
	{"set serviceaccount", "deployment/web default", "", "updated"},
	{"rollout restart", "deployment/web", "", "restarted"},
	{"rollout pause", "deployment/web", "", "paused"},
	{"rollout resume", "deployment/web", "", "resumed"},
	{"rollout history", "deployment/web", "", "REVISION"},
	{"rollout undo", "deployment/web", "", "rolled back"},
	{"run", "alone --image ctlplane.local/demo", "", "created"},
	{"debug", "node/n1 --image ctlplane.local/demo", "", "Creating debugging pod"},
	{"apply", "-f -", settings, "created"},
	{"apply view-last-applied", "configmap/settings", "", "a: b"},
	{"apply set-last-applied", "-f $DIR/settings.yaml", "", "settings"},
	{"apply edit-last-applied", "configmap/settings", "", ""},
	{"diff", "-f -", settings, ""},
	{"replace", "-f -", settings, "replaced"},
	{"edit", "configmap/settings", "", ""},
	{"kustomize", "$DIR", "", "name: settings"},
	{"taint", "nodes n1 a=b:PreferNoSchedule", "", "tainted"},
	{"cordon", "n1", "", "cordoned"},
	{"drain", "n1 --force --grace-period 1 --timeout 60s", "", "drained"},
	{"uncordon", "n1", "", "uncordoned"},
	{"delete", "configmap/settings", "", "deleted"},
	{"config set-cluster", "c --server https://127.0.0.1:1", "", "set"},
	{"config set-credentials", "u --token t", "", "set"},
	{"config set-context", "x --cluster c --user u", "", "created"},
	{"config rename-context", "x y", "", "renamed"},
	{"config get-clusters", "", "", "c"},
	{"config get-contexts", "", "", "y"},
	{"config get-users", "", "", "u"},
	{"config set", "contexts.y.namespace n", "", "set"},
	{"config unset", "contexts.y.namespace", "", "unset"},
	{"config view", "", "", "127.0.0.1:1"},
	{"config current-context", "", "", ""},
	{"config use-context", "y", "", "Switched"},
	{"config delete-context", "y", "", "deleted"},
	{"config delete-user", "u", "", "deleted"},
	{"config delete-cluster", "c", "", "deleted"},
}

// ownTest are commands of kubectl's that work and that other tests use: they don't end, or are the store's as well.
var ownTest = []string{"proxy", "auth enable", "auth disable", "auth status"}

// unserved has every command of kubectl's that can't work yet.
var unserved = []string{
	"attach", "auth can-i", "auth reconcile", "auth whoami", "autoscale", "certificate approve", "certificate deny", "cluster-info dump", "cp",
	"create clusterrole", "create clusterrolebinding", "create cronjob", "create ingress", "create job", "create poddisruptionbudget",
	"create priorityclass", "create quota", "create role", "create rolebinding", "create token", "exec", "port-forward",
	"set subject", "top node", "top pod",
}

// TestEveryCommandWorksOrSaysNotYet walks all of kubectl's commands that are in the binary: each one does something on a cluster, or
// says that it can't yet before it asks anyone.
func TestEveryCommandWorksOrSaysNotYet(t *testing.T) {
	c := start(t, 1, 1)
	s := ctlplane(t, c.Kubeconfig())
	dir := t.TempDir()
	writeKustomization(t, dir)
	own := filepath.Join(dir, "kubeconfig") // the commands of config change it
	content, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = append(s.env, "KUBECONFIG="+own, "EDITOR=true", "HOME="+dir)
	cert, key := newUserCA(t).issue("example.org")
	fill := strings.NewReplacer("$DIR", dir, "$CERT", cert, "$KEY", key)
	tested := slices.Clone(ownTest)
	for _, u := range uses {
		words := append(strings.Fields(u.path), strings.Fields(fill.Replace(u.args))...)
		out, err := s.try(u.input, words...)
		if err != nil || !strings.Contains(out, u.want) {
			t.Errorf("%s: want %q in: %s\n%v", strings.Join(words, " "), u.want, out, err)
		}
		tested = append(tested, u.path)
	}
	proxy := ctlplane(t, c.Kubeconfig()).follow("proxy", "--port", "0")
	proxy.until("Starting to serve")
	proxy.stop()

	nowhere := shell{t: t, path: binary, env: []string{"KUBECONFIG=", "HOME=" + dir, "CTLPLANE_DATA_DIR=" + filepath.Join(dir, "none")}}
	for _, path := range unserved {
		for _, at := range []shell{s, nowhere} {
			at.refuse("", []string{"ctlplane " + path + ": not yet: "}, append(strings.Fields(path), "x")...)
		}
		contains(t, nowhere.run(append(strings.Fields(path), "--help")...), "Usage:")
	}
	for _, words := range []string{"debug alone --image a", "debug node/n1 -it --image a", "run a --image a -it --rm", "run a --image a --attach"} {
		s.refuse("", []string{": not yet: "}, strings.Fields(words)...)
	}
	for _, path := range kubectlCommands(t, nowhere) {
		works, waits := slices.Contains(tested, path), slices.Contains(unserved, path)
		if works == waits {
			t.Errorf("%q: works is %v, not yet is %v: one of them must hold", path, works, waits)
		}
	}
}

// kubectlCommands are the paths of all commands that are kubectl's, as the help lists them, without those that only have others
// below them.
func kubectlCommands(t *testing.T, s shell) []string {
	t.Helper()
	_, section, found := strings.Cut(s.run("--help"), "Objects, as kubectl has them:\n")
	section, _, _ = strings.Cut(section, "\n\n")
	if !found {
		t.Fatal("the help has no group of kubectl's commands")
	}
	var all []string
	for _, name := range listed(section) {
		below := subcommands(s, name)
		if name == "apply" || name == "cluster-info" || len(below) == 0 {
			all = append(all, name) // these do something themselves
		}
		for _, path := range below {
			if deeper := subcommands(s, path); len(deeper) > 0 {
				all = append(all, deeper...)
			} else {
				all = append(all, path)
			}
		}
	}
	if len(all) < 60 {
		t.Fatalf("only %d commands were found: %q", len(all), all)
	}
	return all
}

// subcommands are the paths of the commands below one.
func subcommands(s shell, path string) []string {
	help := s.run(append(strings.Fields(path), "--help")...)
	_, help, _ = strings.Cut(help, "\nUsage:\n")
	help, _, _ = strings.Cut(help, "\nFlags:\n")
	var all []string
	for _, title := range []string{"Available Commands:\n", "Additional Commands:\n", "Users of the key-value store:\n"} {
		if _, section, found := strings.Cut(help, title); found {
			section, _, _ = strings.Cut(section, "\n\n")
			for _, name := range listed(section) {
				all = append(all, path+" "+name)
			}
		}
	}
	return all
}

var listedCommand = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*) +[A-Z]`)

// listed are the names in a section of a help text.
func listed(section string) []string {
	var names []string
	for _, match := range listedCommand.FindAllStringSubmatch(section, -1) {
		names = append(names, match[1])
	}
	return names
}

// writeKustomization writes what the commands that read files read.
func writeKustomization(t *testing.T, dir string) {
	t.Helper()
	for name, content := range map[string]string{"kustomization.yaml": "resources: [settings.yaml]\n", "settings.yaml": settings} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
