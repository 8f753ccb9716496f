package agent_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
)

// work is what the tests' containers do when they are not the demo server.
func work(args []string) int {
	switch args[0] {
	case "exit":
		fmt.Println("exits with", args[1])
		var code int
		fmt.Sscan(args[1], &code)
		return code
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Hour)
	case "print":
		fmt.Print(args[1])
	case "cat":
		for _, path := range args[1:] {
			content, err := os.ReadFile(path)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			fmt.Printf("%s=%s\n", path, strings.TrimSpace(string(content)))
		}
	case "write":
		for i := 1; i+1 < len(args); i += 2 {
			if err := os.WriteFile(args[i], []byte(args[i+1]), 0o644); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	case "env":
		for _, name := range args[1:] {
			fmt.Printf("%s=%s\n", name, os.Getenv(name))
		}
	}
	return 0
}

func get(t *testing.T, url string) (string, error) {
	t.Helper()
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func TestPodRunsServesAndEnds(t *testing.T) {
	n := startNode(t)
	web := n.pod("web", demoContainer())
	web.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3600) // it has to end on SIGTERM
	n.create(web)
	pod := n.wait("web", "ready", ready)
	if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" || pod.Status.HostIP != "127.0.0.1" || pod.Status.StartTime == nil {
		t.Errorf("status %+v", pod.Status)
	}
	body, err := get(t, "http://"+pod.Status.PodIP+":8080/")
	if err != nil || body != "web\n" {
		t.Errorf("the demo pod answers %q, %v", body, err)
	}
	if err := client.For[*corev1.Pod](n.cluster).Delete(t.Context(), "default", "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.wait("web", "gone", func(pod *corev1.Pod) bool { return pod == nil })
	if _, err := os.Stat(n.dir + "/pods/" + string(pod.UID)); !os.IsNotExist(err) {
		t.Error("the pod's directory is still there")
	}
}

func TestAgentRestartKeepsProcesses(t *testing.T) {
	n := startNode(t)
	n.create(n.pod("web", demoContainer()))
	before := n.wait("web", "ready", ready)
	pid := n.hostPID("web")
	n.stop()
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the container ended with the agent: %v", err)
	}
	n.start()
	if got := n.hostPID("web"); got != pid {
		t.Errorf("the container has process %d, had %d", got, pid)
	}
	if body, err := get(t, "http://"+before.Status.PodIP+":8080/"); err != nil || body != "web\n" {
		t.Errorf("answer after the restart: %q, %v", body, err)
	}
	// The new agent is in charge: a killed process is started again.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	after := n.wait("web", "restarted", func(pod *corev1.Pod) bool { return ready(pod) && pod.Status.ContainerStatuses[0].RestartCount == 1 })
	last := after.Status.ContainerStatuses[0].LastTerminationState.Terminated
	if last == nil || last.ExitCode != 137 || last.Reason != "Error" {
		t.Errorf("last state %+v", last)
	}
	if after.Status.PodIP != before.Status.PodIP {
		t.Error("the pod's address changed with its container")
	}
}

// hostPID is the process of the pod's only container, as /proc has it.
func (n *testNode) hostPID(name string) int {
	n.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		n.t.Fatal(err)
	}
	for _, entry := range entries {
		env, err := os.ReadFile("/proc/" + entry.Name() + "/environ")
		if err != nil || !strings.Contains(string(env), "HOSTNAME="+name+"\x00") {
			continue
		}
		cgroup, _ := os.ReadFile("/proc/" + entry.Name() + "/cgroup")
		if !strings.Contains(string(cgroup), "ctlplane-") {
			continue
		}
		var pid int
		fmt.Sscan(entry.Name(), &pid)
		return pid
	}
	n.t.Fatalf("no process of pod %s", name)
	return 0
}
