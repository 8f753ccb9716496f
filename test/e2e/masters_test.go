package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNodesKnowOnlyTheMastersOfTheirEnrolment replaces the master that a node was enrolled with. The node must go over to
// the new ones, and find them again after its restart, for which it is given the old one's address.
func TestNodesKnowOnlyTheMastersOfTheirEnrolment(t *testing.T) {
	c := start(t, 1, 1)
	old, node := c.Masters[0], c.Nodes[0]
	for range 2 {
		if _, err := c.AddMaster(); err != nil {
			t.Fatal(err)
		}
	}
	k := kubectl(t, filepath.Join(c.Masters[1].DataDir, "admin.kubeconfig"))
	s := ctlplane(t, filepath.Join(c.Masters[1].DataDir, "admin.kubeconfig"))
	eventually(t, "the node to be told of the new masters", func() bool {
		enrolment, err := os.ReadFile(filepath.Join(node.DataDir, "pki", "enrolment.json"))
		return err == nil && strings.Contains(string(enrolment), `"m2"`) && strings.Contains(string(enrolment), `"m3"`)
	})
	eventually(t, "m1 to be removed", func() bool {
		for line := range strings.Lines(s.run("member", "list")) {
			if fields := strings.Split(line, ", "); len(fields) > 2 && fields[2] == "m1" {
				_, err := s.try("", "member", "remove", fields[0])
				return err == nil
			}
		}
		return true
	})
	old.Kill()

	renewed := func() string {
		out, _ := k.try("", "get", "lease", "-n", "kube-node-lease", "n1", "-o", "jsonpath={.spec.renewTime}")
		return out
	}
	before := renewed()
	eventually(t, "two heartbeats at the new masters", func() bool {
		now := renewed()
		return now != "" && now != before
	})
	k.run("wait", "--for=condition=Ready", "node/n1", "--timeout=60s")
	node.Terminate()
	if err := c.StartNode(node); err != nil { // returns once the node is ready
		t.Fatal(err)
	}
	eventually(t, "the node to forget the master that is gone", func() bool {
		enrolment, err := os.ReadFile(filepath.Join(node.DataDir, "pki", "enrolment.json"))
		return err == nil && !strings.Contains(string(enrolment), `"m1"`)
	})
	k.run("wait", "--for=condition=Ready", "node/n1", "--timeout=60s")
}

// TestNodeThatWasAwayTooLongJoinsAgain stops a node until its certificate has ended: it is told what to do, and a token is all
// that it needs. What it runs goes on.
func TestNodeThatWasAwayTooLongJoinsAgain(t *testing.T) {
	c := start(t, 1, 1, "--cert-lifetime", "10s")
	k := kubectl(t, c.Kubeconfig())
	k.run("apply", "-f", example)
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	node, before := c.Nodes[0], processesOf(t)
	node.Terminate()
	s := shell{t: t, path: binary}
	without := []string{"join", strings.TrimPrefix(c.Masters[0].Access.Server, "https://"), "--name", "n1", "--data-dir", node.DataDir, "--node-ip", "127.0.0.1"}
	eventually(t, "the node's certificate to end", func() bool {
		return strings.Contains(s.run("cert", "status", "--data-dir", node.DataDir), "(ended)")
	})
	s.refuse("", []string{"certificate of node n1 ended", "token create", "join again"}, without...)
	if err := c.StartNode(node); err != nil { // with its token
		t.Fatal(err)
	}
	k.run("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=60s")
	for pod, pid := range processesOf(t) {
		if before[pod] != pid {
			t.Errorf("pod %s ran as process %d, now as %d", pod, before[pod], pid)
		}
	}
}
