package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/ctlplane/ctlplane/agent/machine"
)

// powerLossPods are a pod that runs on, with all that leaves something behind on its node, and one that has ended.
const powerLossPods = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {token: s3cret}
---
apiVersion: v1
kind: Pod
metadata: {name: stays}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 5
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys}}
  - {name: data, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory}}
  initContainers:
  - name: side
    image: ctlplane.local/demo:v1
    env: [{name: PORT, value: "8081"}]
    restartPolicy: Always
    volumeMounts:
    - {name: settings, mountPath: /settings}
    - {name: keys, mountPath: /token, subPath: token}
    - {name: data, mountPath: /data, subPath: deep/er}
    - {name: memory, mountPath: /memory}
  containers:
  - name: main
    image: ctlplane.local/demo:v1
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
    volumeMounts:
    - {name: settings, mountPath: /settings}
    - {name: keys, mountPath: /token, subPath: token}
    - {name: data, mountPath: /data, subPath: deep/er}
    - {name: memory, mountPath: /memory}
---
apiVersion: v1
kind: Pod
metadata: {name: ended}
spec:
  nodeName: n1
  restartPolicy: Never
  containers:
  - name: main
    image: ctlplane.local/demo:v1
    command: ["/no/such/command"]
`

// TestPowerLoss takes a node's power: everything of it dies in the middle of what it does, and its agent finds the files
// of before, and nothing else.
func TestPowerLoss(t *testing.T) {
	// The node is back before its pods are given up.
	c := start(t, 1, 1, "--pod-eviction-after", "10m")
	k := kubectl(t, c.Kubeconfig())
	manifest := filepath.Join(t.TempDir(), "pods.yaml")
	if err := os.WriteFile(manifest, []byte(powerLossPods), 0o600); err != nil {
		t.Fatal(err)
	}
	k.run("apply", "-f", manifest)
	k.run("apply", "-f", example)
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	k.run("wait", "--for=condition=Ready", "pod/stays", "--timeout=60s")
	k.run("wait", "--for=jsonpath={.status.phase}=Failed", "pod/ended", "--timeout=60s")
	node := c.Nodes[0]
	before := podsOf(t, k)
	for losses := range int32(2) {
		if err := c.PowerLoss(node); err != nil {
			t.Fatal(err)
		}
		if err := c.StartNode(node); err != nil {
			t.Fatal(err)
		}
		for name := range before {
			if name != "ended" {
				eventually(t, "pod "+name+" to run again", func() bool { return runs(podsOf(t, k)[name], losses+1) })
			}
		}
		for name, pod := range podsOf(t, k) {
			was := before[name]
			if pod.UID != was.UID {
				t.Errorf("pod %s is another one", name)
			}
			if name == "ended" && (pod.Status.Phase != corev1.PodFailed || pod.Status.ContainerStatuses[0].State.Terminated == nil ||
				pod.Status.ContainerStatuses[0].State.Terminated.Reason != "StartError" || pod.Status.ContainerStatuses[0].RestartCount != 0) {
				t.Errorf("the pod that had ended is %+v", pod.Status)
			}
			for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
				if last := s.LastTerminationState.Terminated; name != "ended" && (last == nil || last.ExitCode != 137) {
					t.Errorf("container %s of pod %s ended before as %+v", s.Name, name, s.LastTerminationState)
				}
			}
		}
		nothingDoubled(t, podsOf(t, k), node.DataDir)
	}
	// A pod that is deleted while its node has no power ends when the node is back.
	if err := c.PowerLoss(node); err != nil {
		t.Fatal(err)
	}
	k.run("delete", "pod", "stays", "--wait=false")
	if err := c.StartNode(node); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deleted pod to be gone", func() bool { _, there := podsOf(t, k)["stays"]; return !there })
	k.run("delete", "pod", "ended", "--wait=false")
	k.run("delete", "deployment", "web")
	eventually(t, "all pods to be gone", func() bool { return len(podsOf(t, k)) == 0 })
	eventually(t, "nothing of the pods to be left on the node", func() bool { return len(podLeftovers(t, node.DataDir)) == 0 })
}

func podsOf(t *testing.T, k shell) map[string]*corev1.Pod {
	t.Helper()
	var list corev1.PodList
	if err := json.Unmarshal([]byte(k.run("get", "pods", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	pods := map[string]*corev1.Pod{}
	for i := range list.Items {
		pods[list.Items[i].Name] = &list.Items[i]
	}
	return pods
}

// runs says whether a pod is ready, each container in its run after so many restarts.
func runs(pod *corev1.Pod, restarts int32) bool {
	if pod == nil || pod.Status.Phase != corev1.PodRunning {
		return false
	}
	for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if s.State.Running == nil || !s.Ready || s.RestartCount != restarts {
			return false
		}
	}
	return true
}

// nothingDoubled checks that a node runs each container of its pods once, each pod with an address of its own.
func nothingDoubled(t *testing.T, pods map[string]*corev1.Pod, dataDir string) {
	t.Helper()
	addresses, containers := map[string]string{}, map[string]int{}
	for name, pod := range pods {
		if pod.Status.Phase != corev1.PodRunning {
			continue
		}
		if other, taken := addresses[pod.Status.PodIP]; taken {
			t.Errorf("pods %s and %s have one address", name, other)
		}
		addresses[pod.Status.PodIP] = name
		for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			containers[strings.TrimPrefix(s.ContainerID, "ctlplane://")] = 0
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range processes {
		cgroups, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(cgroups), "/"+machine.CgroupRoot(dataDir)+"/") {
			continue
		}
		line, _, _ := strings.Cut(string(cgroups), "\n")
		containers[filepath.Base(line)]++
	}
	for id, count := range containers {
		if count != 1 {
			t.Errorf("container %s runs %d times", id, count)
		}
	}
}

// podLeftovers are what is left of pods in a node's directories, mounts and cgroups.
func podLeftovers(t *testing.T, dataDir string) []string {
	t.Helper()
	var left []string
	for _, pattern := range []string{
		dataDir + "/agent/pods/*", dataDir + "/agent/logs/*", dataDir + "/runtime/sandboxes/*", dataDir + "/runtime/containers/*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), " "+dataDir+"/") {
		left = append(left, "a mount")
	}
	return left
}
