package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/dev"
)

// processesOf lists the machine's processes that run the demo server, by pod name.
func processesOf(t *testing.T) map[string]int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, entry := range entries {
		command, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		if err != nil || !strings.HasPrefix(string(command), "/ctlplane\x00demo-server") {
			continue
		}
		environment, err := os.ReadFile("/proc/" + entry.Name() + "/environ")
		if err != nil {
			continue
		}
		for _, variable := range strings.Split(string(environment), "\x00") {
			if pod, ok := strings.CutPrefix(variable, "HOSTNAME="); ok {
				var pid int
				_, _ = fmt.Sscan(entry.Name(), &pid)
				found[pod] = pid
			}
		}
	}
	return found
}

func podNames(k shell) []string {
	return strings.Fields(k.run("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"))
}

func TestKilledProcessIsRestarted(t *testing.T) {
	c := start(t, 1, 1)
	k := kubectl(t, c.Kubeconfig())
	k.run("apply", "-f", example)
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	pod := podNames(k)[0]
	restarts := func() string {
		return k.run("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
	}
	for i := range 2 {
		pid := processesOf(t)[pod]
		if pid == 0 {
			t.Fatalf("no process of pod %s", pod)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the restart count to go up", func() bool { return restarts() == fmt.Sprint(i+1) })
		if i == 1 {
			eventually(t, "the second restart to be backed off", func() bool {
				return strings.Contains(k.run("get", "events"), "BackOff")
			})
		}
		eventually(t, "the container to run again", func() bool { return processesOf(t)[pod] != 0 })
	}
}

func TestAgentRestartKeepsContainers(t *testing.T) {
	c := start(t, 1, 1)
	k := kubectl(t, c.Kubeconfig())
	k.run("apply", "-f", example)
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	before := processesOf(t)
	for _, how := range []struct {
		name string
		end  func(*dev.Process)
	}{{"stopped", (*dev.Process).Terminate}, {"killed", (*dev.Process).Kill}} {
		t.Run(how.name, func(t *testing.T) {
			node := c.Nodes[0]
			how.end(node.Process)
			if err := c.StartNode(node); err != nil {
				t.Fatal(err)
			}
			k.run("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=30s")
			for pod, pid := range processesOf(t) {
				if before[pod] != pid {
					t.Errorf("pod %s ran as process %d, now as %d", pod, before[pod], pid)
				}
			}
			contains(t, k.run("logs", podNames(k)[0]), "serv")
		})
	}
}

// TestMastersAwayChangesNothingOnNodes kills all masters and looks that the workload does not notice, also
// when they are back.
func TestMastersAwayChangesNothingOnNodes(t *testing.T) {
	c := start(t, 3, 1)
	k := kubectl(t, c.Kubeconfig())
	k.run("apply", "-f", example)
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	victim := podNames(k)[0] // not of the processes: another cluster's may still be ending
	before := processesOf(t)
	for _, m := range c.Masters {
		m.Kill()
	}
	// Without masters a container that ends is restarted all the same.
	t.Logf("killing %s of %v", victim, before)
	if err := syscall.Kill(before[victim], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the container to be restarted without masters", func() bool {
		pid := processesOf(t)[victim]
		return pid != 0 && pid != before[victim]
	})
	during := processesOf(t)
	if err := c.StartMasters(); err != nil {
		t.Fatal(err)
	}
	k.run("wait", "--for=condition=Ready", "node/n1", "--timeout=30s")
	k.run("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=30s")
	for pod, pid := range processesOf(t) {
		if during[pod] != pid {
			t.Errorf("pod %s ran as process %d while the masters were away, now as %d", pod, during[pod], pid)
		}
	}
	if restarts := k.run("get", "pod", victim, "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); restarts != "1" {
		t.Errorf("the container was restarted %s times, want once", restarts)
	}
}

// TestFrozenAgentComesBack stops an agent's process until its node counts as dead, and lets it go on.
func TestFrozenAgentComesBack(t *testing.T) {
	c := start(t, 1, 1)
	k := kubectl(t, c.Kubeconfig())
	ready := func() string {
		return k.run("get", "node", "n1", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	}
	if err := syscall.Kill(c.Nodes[0].PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node to be unknown", func() bool { return ready() == "Unknown" })
	contains(t, k.run("describe", "node", "n1"), "node.kubernetes.io/unreachable")
	if err := syscall.Kill(c.Nodes[0].PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node to be ready again", func() bool { return ready() == "True" })
	eventually(t, "its taints to be gone", func() bool {
		return !strings.Contains(k.run("describe", "node", "n1"), "node.kubernetes.io/unreachable")
	})
}

func TestPodsOfAKilledNodeRunElsewhere(t *testing.T) {
	c := start(t, 1, 2)
	k := kubectl(t, c.Kubeconfig())
	k.run("apply", "-f", example)
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	victim := c.Nodes[1]
	if err := c.KillNode(victim); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	eventually(t, "three ready replicas on the other node", func() bool {
		out := k.run("get", "pods", "-l", "app=web", "--field-selector", "spec.nodeName=n1",
			"-o", `jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
		return strings.Count(out, "True") == 3
	})
	t.Logf("the pods of the killed node ran elsewhere %v later", time.Since(killed))
	eventually(t, "the node to be not ready", func() bool { return strings.Contains(k.run("get", "node", victim.Name), "NotReady") })
	if err := c.StartNode(victim); err != nil {
		t.Fatal(err)
	}
	k.run("wait", "--for=condition=Ready", "node/"+victim.Name, "--timeout=30s")
}
