package agent_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/agent/demo"
	"github.com/ctlplane/ctlplane/client"
)

// ask requests a path of the agent's own server.
func (n *testNode) ask(ctx context.Context, config *tls.Config, path string) (int, io.ReadCloser) {
	n.t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+n.addr+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, io.NopCloser(strings.NewReader(err.Error()))
	}
	return response.StatusCode, response.Body
}

func (n *testNode) logs(pod, query string) string {
	n.t.Helper()
	code, body := n.ask(n.t.Context(), n.tls.admin, "/containerLogs/default/"+pod+"/main?"+query)
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil || code != http.StatusOK {
		n.t.Errorf("logs of %s: %d %s %v", pod, code, text, err)
	}
	return string(text)
}

func succeeded(pod *corev1.Pod) bool { return pod != nil && pod.Status.Phase == corev1.PodSucceeded }

func TestEnvironmentAndVolumes(t *testing.T) {
	n := startNode(t)
	n.cluster.Add(
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"color": "blue", "size": "big"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "keys"}, Data: map[string][]byte{"token": []byte("s3cret")}},
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"},
			Spec:       corev1.ServiceSpec{ClusterIP: "10.43.0.1", Ports: []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}}},
		},
	)
	c := workContainer("env", "GREETING", "COLOR", "TOKEN", "POD", "IP", "CPU", "all_color", "KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT_443_TCP_PORT")
	key := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	c.Env = []corev1.EnvVar{
		{Name: "WHO", Value: "world"},
		{Name: "GREETING", Value: "hello $(WHO) $(NOBODY) $$(WHO)"},
		{Name: "COLOR", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: key("settings"), Key: "color"}}},
		{Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: key("keys"), Key: "token"}}},
		{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
		{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu", Divisor: resource.MustParse("1m")}}},
	}
	c.EnvFrom = []corev1.EnvFromSource{{Prefix: "all_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: key("settings")}}}
	c.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}
	env := n.pod("env", c)
	env.Spec.RestartPolicy = corev1.RestartPolicyNever
	n.create(env)
	pod := n.wait("env", "done", succeeded)
	text := n.logs("env", "")
	for _, want := range []string{
		"GREETING=hello world $(NOBODY) $(WHO)\n", "COLOR=blue\n", "TOKEN=s3cret\n", "POD=env\n", "IP=10.213.", "CPU=250\n", "all_color=blue\n",
		"KUBERNETES_SERVICE_HOST=10.43.0.1\n", "KUBERNETES_PORT_443_TCP_PORT=443\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("output lacks %q:\n%s", want, text)
		}
	}
	if state := pod.Status.ContainerStatuses[0].State.Terminated; state == nil || state.Reason != "Completed" {
		t.Errorf("state %+v", pod.Status.ContainerStatuses[0].State)
	}

	files := n.pod("files", workContainer("cat", "/config/color", "/config/sub/s", "/secret/token", "/info/labels", "/shared/from-init", "/memory/x", "/one", "/etc/hosts", "/etc/hostname"))
	files.Labels = map[string]string{"app": "files"}
	files.Spec.RestartPolicy = corev1.RestartPolicyNever
	files.Spec.Volumes = []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: key("settings"), Items: []corev1.KeyToPath{{Key: "color", Path: "color"}, {Key: "size", Path: "sub/s"}}}}},
		{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "keys"}}},
		{Name: "info", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}}},
		{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: ptr.To(resource.MustParse("1Mi"))}}},
	}
	mounts := []corev1.VolumeMount{
		{Name: "config", MountPath: "/config"}, {Name: "secret", MountPath: "/secret"}, {Name: "info", MountPath: "/info"},
		{Name: "shared", MountPath: "/shared"}, {Name: "memory", MountPath: "/memory"}, {Name: "config", MountPath: "/one", SubPath: "color"},
	}
	files.Spec.Containers[0].VolumeMounts = mounts
	write := workContainer("write", "/shared/from-init", "init was here", "/memory/x", "in memory")
	write.Name, write.VolumeMounts = "prepare", mounts
	files.Spec.InitContainers = []corev1.Container{write}
	n.create(files)
	n.wait("files", "done", succeeded)
	text = n.logs("files", "")
	for _, want := range []string{
		"/config/color=blue\n", "/config/sub/s=big\n", "/secret/token=s3cret\n", "/info/labels=app=\"files\"\n", "/shared/from-init=init was here\n",
		"/memory/x=in memory\n", "/one=blue\n", "\tfiles\n", "/etc/hostname=files\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("output lacks %q:\n%s", want, text)
		}
	}
}

// What a program printed last, without a newline, is what comes last, with no newline.
func TestLogsGetNoNewline(t *testing.T) {
	n := startNode(t)
	pod := n.pod("print", workContainer("print", "hello"))
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	n.create(pod)
	n.wait("print", "done", succeeded)
	for _, query := range []string{"", "follow=true", "tailLines=1", "limitBytes=9"} {
		if text := n.logs("print", query); text != "hello" {
			t.Errorf("log with %q is %q", query, text)
		}
	}
}

// A sidecar that does not end when its pod has ended is killed after the pod's grace, and told of once before.
func TestStubbornSidecarIsKilled(t *testing.T) {
	n := startNode(t)
	pod := n.pod("stubborn", workContainer("print", "done"))
	side := workContainer("stubborn")
	side.Name, side.RestartPolicy = "side", ptr.To(corev1.ContainerRestartPolicyAlways)
	pod.Spec.RestartPolicy, pod.Spec.InitContainers, pod.Spec.TerminationGracePeriodSeconds = corev1.RestartPolicyNever, []corev1.Container{side}, ptr.To[int64](2)
	n.create(pod)
	ended := n.wait("stubborn", "done", succeeded)
	s := ended.Status.InitContainerStatuses[0].State.Terminated
	if s == nil || s.ExitCode != 137 {
		t.Fatalf("the pod has ended with a sidecar that is %+v", ended.Status.InitContainerStatuses[0].State)
	}
	if took := s.FinishedAt.Sub(ended.Status.ContainerStatuses[0].State.Terminated.FinishedAt.Time); took < time.Second {
		t.Errorf("the sidecar had %v to end, want the pod's grace", took)
	}
	if told := strings.Count(n.log.String(), "stop a container"); told != 1 {
		t.Errorf("the log tells %d times that the container is stopped", told)
	}
}

func TestLogsOverTheServer(t *testing.T) {
	n := startNode(t)
	n.create(n.pod("web", demoContainer()))
	pod := n.wait("web", "ready", ready)
	if code, body := n.ask(t.Context(), n.tls.other, "/containerLogs/default/web/main"); code != http.StatusForbidden {
		text, _ := io.ReadAll(body)
		t.Errorf("somebody else gets %d %s", code, text)
	}
	if code, _ := n.ask(t.Context(), &tls.Config{RootCAs: n.tls.admin.RootCAs}, "/pods"); code != 0 {
		t.Errorf("nobody gets %d", code)
	}
	if text := n.logs("web", "tailLines=1&timestamps=true"); !strings.HasPrefix(text, time.Now().UTC().Format("2006-01-02T")) || !strings.Contains(text, "web serves on") {
		t.Errorf("log %q", text)
	}
	if code, body := n.ask(t.Context(), n.tls.admin, "/containerLogs/default/web/main?previous=true"); code != http.StatusBadRequest {
		text, _ := io.ReadAll(body)
		t.Errorf("log of no previous run: %d %s", code, text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, body := n.ask(ctx, n.tls.admin, "/containerLogs/default/web/main?follow=true&sinceSeconds=3600")
	defer body.Close()
	seen := make(chan string)
	go func() {
		defer close(seen)
		buffer := make([]byte, 4096)
		for {
			k, err := body.Read(buffer)
			if k > 0 {
				seen <- string(buffer[:k])
			}
			if err != nil {
				return
			}
		}
	}()
	<-seen // what was there before
	if _, err := get(t, "http://"+pod.Status.PodIP+":8080/"); err != nil {
		t.Fatal(err)
	}
	text := ""
	for !strings.Contains(text, "GET /") {
		piece, ok := <-seen
		if !ok {
			t.Fatalf("the log ended: %q", text)
		}
		text += piece
	}
	// A followed log ends with its container.
	n.delete("web")
	for range seen {
	}
	if ctx.Err() != nil {
		t.Error("the followed log did not end with its container")
	}
	for path, want := range map[string]string{"/healthz": "ok", "/pods": `"kind":"PodList"`, "/runningpods/": `"kind":"PodList"`, "/metrics": "ctlplane_agent_pods"} {
		code, body := n.ask(t.Context(), n.tls.admin, path)
		text, err := io.ReadAll(body)
		if code != http.StatusOK || err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %d %.200s %v", path, code, text, err)
		}
	}
}

func (n *testNode) delete(name string) {
	n.t.Helper()
	if err := client.For[*corev1.Pod](n.cluster).Delete(n.t.Context(), "default", name, metav1.DeleteOptions{}); err != nil {
		n.t.Fatal(err)
	}
}

func TestCrashLoop(t *testing.T) {
	n := startNode(t)
	c := workContainer("exit", "7")
	c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	n.create(n.pod("bad", c))
	pod := n.wait("bad", "backing off", func(pod *corev1.Pod) bool {
		return pod != nil && len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].State.Waiting != nil &&
			pod.Status.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	s := pod.Status.ContainerStatuses[0]
	if s.RestartCount != 1 || s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 7 || s.LastTerminationState.Terminated.Message != "exits with 7" {
		t.Errorf("status %+v", s)
	}
	if text := n.logs("bad", "previous=true"); text != "exits with 7\n" {
		t.Errorf("previous log %q", text)
	}
	n.wait("bad", "reported", func(*corev1.Pod) bool { return n.hasEvent("bad", "BackOff") && n.hasEvent("bad", "Started") })
}

func (n *testNode) hasEvent(pod, reason string) bool {
	events, _, err := client.For[*corev1.Event](n.cluster).List(n.t.Context(), "default", metav1.ListOptions{})
	if err != nil {
		return false
	}
	for _, event := range events {
		if event.InvolvedObject.Name == pod && event.Reason == reason {
			return true
		}
	}
	return false
}

func TestLivenessRestarts(t *testing.T) {
	n := startNode(t)
	c := demoContainer()
	c.LivenessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{demo.Program, "work", "exit", "1"}}},
		PeriodSeconds: 1, FailureThreshold: 2,
	}
	n.create(n.pod("sick", c))
	n.wait("sick", "restarted", func(pod *corev1.Pod) bool {
		return pod != nil && len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].RestartCount >= 1
	})
	n.wait("sick", "reported", func(*corev1.Pod) bool { return n.hasEvent("sick", "Unhealthy") && n.hasEvent("sick", "Killing") })
}

func TestUnhappyPods(t *testing.T) {
	n := startNode(t)
	waitingFor := func(reason string) func(*corev1.Pod) bool {
		return func(pod *corev1.Pod) bool {
			return pod != nil && len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].State.Waiting != nil &&
				pod.Status.ContainerStatuses[0].State.Waiting.Reason == reason
		}
	}
	pull := n.pod("pull", corev1.Container{Name: "main", Image: "127.0.0.1:1/none:v1"})
	n.create(pull)
	never := n.pod("never", corev1.Container{Name: "main", Image: "127.0.0.1:1/none:v1", ImagePullPolicy: corev1.PullNever})
	n.create(never)
	config := n.pod("config", workContainer("env"))
	config.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}}}
	n.create(config)
	root := n.pod("root", workContainer("env"))
	root.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)}
	n.create(root)
	large := n.pod("large", workContainer("env"))
	large.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}
	n.create(large)
	missing := n.pod("missing", corev1.Container{Name: "main", Image: "ctlplane.local/demo:v1", Command: []string{"/no/such/thing"}})
	n.create(missing)

	n.wait("pull", "not pulled", waitingFor("ImagePullBackOff"))
	n.wait("never", "not there", waitingFor("ErrImageNeverPull"))
	n.wait("config", "not configured", waitingFor("CreateContainerConfigError"))
	n.wait("root", "refused", waitingFor("CreateContainerConfigError"))
	stopped := n.wait("missing", "not started", waitingFor("CrashLoopBackOff"))
	if last := stopped.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.Reason != "StartError" || last.ExitCode != 128 {
		t.Errorf("the last run of a command that isn't there: %+v", last)
	}
	pod := n.wait("large", "rejected", func(pod *corev1.Pod) bool { return pod != nil && pod.Status.Phase == corev1.PodFailed })
	if pod.Status.Reason != "OutOfcpu" || !strings.Contains(pod.Status.Message, "requested: 1000000, used: 0") {
		t.Errorf("reason %q, message %q", pod.Status.Reason, pod.Status.Message)
	}
	// What was missing comes: the pod goes on by itself.
	n.cluster.Add(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "none"}})
	for _, name := range []string{"pull", "never", "config", "root", "large", "missing"} {
		n.delete(name)
	}
	for _, name := range []string{"pull", "never", "config", "root", "large", "missing"} {
		n.wait(name, "gone", func(pod *corev1.Pod) bool { return pod == nil })
	}
}

func TestPodDeletedWhileAgentIsAway(t *testing.T) {
	n := startNode(t)
	n.create(n.pod("web", demoContainer()))
	n.wait("web", "ready", ready)
	pid := n.hostPID("web")
	n.stop()
	now := int64(0)
	if err := client.For[*corev1.Pod](n.cluster).Delete(t.Context(), "default", "web", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	n.start()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the container of a pod that is gone runs on")
		}
	}
}

func TestNodeReports(t *testing.T) {
	n := startNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var node *corev1.Node
	err := n.cluster.WaitUntil(ctx, func() bool {
		var err error
		node, err = client.For[*corev1.Node](n.cluster).Get(ctx, "", "node-1")
		return err == nil && len(node.Status.Conditions) == 4
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range node.Status.Conditions {
		want := corev1.ConditionFalse
		if c.Type == corev1.NodeReady {
			want = corev1.ConditionTrue
		}
		if c.Status != want {
			t.Errorf("condition %+v", c)
		}
	}
	if node.Status.Capacity.Cpu().IsZero() || node.Status.Allocatable.Memory().Cmp(*node.Status.Capacity.Memory()) >= 0 ||
		node.Labels[corev1.LabelHostname] != "node-1" || len(node.Status.Images) == 0 || node.Status.NodeInfo.KernelVersion == "" {
		t.Errorf("node %+v", node)
	}
}
