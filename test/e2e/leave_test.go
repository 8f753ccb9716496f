package e2e

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ctlplane/ctlplane/agent"
	"github.com/ctlplane/ctlplane/dev"
)

// madeBy lists what a node has on the machine: in its network namespace, in the cgroups, mounted below its data directory, and there.
func madeBy(t *testing.T, n *dev.Node) map[string][]string {
	t.Helper()
	inside := func(command ...string) []string {
		out, err := exec.Command("nsenter", append([]string{"--net=/run/netns/" + n.Namespace}, command...)...).Output()
		if err != nil {
			t.Fatalf("%v: %v", command, err)
		}
		return slices.DeleteFunc(strings.Split(string(out), "\n"), func(line string) bool { return line == "" })
	}
	made := map[string][]string{
		"routes": inside("ip", "-4", "route"),
		"rules":  inside("nft", "list", "tables"),
	}
	links := inside("ip", "-o", "link")
	for i, link := range links {
		links[i] = strings.Fields(link)[1]
	}
	made["links"] = links
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, n.DataDir) {
			made["mounts"] = append(made["mounts"], line)
		}
	}
	out, err := exec.Command("find", "/sys/fs/cgroup", "-type", "d", "-name", agent.CgroupRoot(filepath.Join(n.DataDir, "agent"))).Output()
	if err != nil {
		t.Fatal(err)
	}
	made["cgroups"] = strings.Fields(string(out))
	made["processes"] = slices.Collect(maps.Values(processesWith(t, n.DataDir)))
	if _, err := os.Stat(n.DataDir); err == nil {
		made["data"] = []string{n.DataDir}
	}
	return made
}

// TestLeaveTakesAwayWhatANodeMade counts what is on the machine before a node joins, while it runs pods and after it has left.
func TestLeaveTakesAwayWhatANodeMade(t *testing.T) {
	c := start(t, 1, 2) // the second node makes routes on the first
	k := kubectl(t, c.Kubeconfig())
	n, other := c.Nodes[0], c.Nodes[1]
	k.run("create", "deployment", "web", "--image", "ctlplane.local/demo", "--replicas", "3")
	k.run("expose", "deployment/web", "--port", "80", "--target-port", "8080")
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	eventually(t, "a pod to run on "+n.Name, func() bool {
		return strings.Contains(k.run("get", "pods", "-o", "wide"), n.Name)
	})
	running := madeBy(t, n)
	for what, all := range running {
		if len(all) == 0 {
			t.Errorf("a running node has no %s: the test would not see them left behind", what)
		}
	}
	leave := shell{t: t, path: "nsenter", env: []string{"KUBECONFIG="}}
	command := []string{"--net=/run/netns/" + n.Namespace, binary, "leave", "--data-dir", n.DataDir}
	leave.refuse("", []string{"an agent that runs", "stop that first"}, command...)

	// The agent stops; its pods run on until the node leaves.
	n.Terminate()
	t.Log(leave.run(command...))

	left := madeBy(t, n)
	for _, what := range []string{"rules", "mounts", "cgroups", "processes", "data"} {
		if len(left[what]) > 0 {
			t.Errorf("%s left: %q", what, left[what])
		}
	}
	// What the node found there: lo and eth0, a route to its segment and the default one.
	if len(left["links"]) != 2 || len(left["routes"]) != 2 {
		t.Errorf("links left: %q, routes left: %q", left["links"], left["routes"])
	}
	contains(t, k.run("get", "nodes"), other.Name)
	leave.refuse("", []string{"is no node"}, command...)
}

// TestLeaveRemovesTheNodeFromItsCluster leaves where the administrator's kubeconfig is, and where it is not.
func TestLeaveRemovesTheNodeFromItsCluster(t *testing.T) {
	c := start(t, 1, 2)
	k := kubectl(t, c.Kubeconfig())
	for i, n := range c.Nodes {
		n.Terminate()
		leave := shell{t: t, path: "nsenter", env: []string{"KUBECONFIG="}}
		command := []string{"--net=/run/netns/" + n.Namespace, binary, "leave", "--data-dir", n.DataDir}
		if i == 0 {
			command = append(command, "--kubeconfig", c.Kubeconfig())
		}
		said := leave.run(command...)
		if i == 0 {
			contains(t, said, "node n1 is off this machine", "node n1 is no longer in the cluster")
			k.refuse("", []string{"not found"}, "get", "node", n.Name)
			k.refuse("", []string{"not found"}, "get", "lease", n.Name, "-n", "kube-node-lease")
			continue
		}
		contains(t, said, "node n2 is off this machine", "ctlplane delete node n2")
		k.run("get", "node", n.Name)
		ctlplane(t, c.Kubeconfig()).run("delete", "node", n.Name)
		eventually(t, "the lease goes with its node", func() bool {
			_, err := k.try("", "get", "lease", n.Name, "-n", "kube-node-lease")
			return err != nil && strings.Contains(err.Error(), "not found")
		})
	}
}
