package pods

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/agent/cgroup"
	"github.com/ctlplane/ctlplane/scheduling/schedulingtest"
)

// container has requests and limits, given as names and quantities in turn.
func container(requests, limits []string) corev1.Container {
	return corev1.Container{Name: "c", Resources: corev1.ResourceRequirements{
		Requests: schedulingtest.List(requests...), Limits: schedulingtest.List(limits...),
	}}
}

func TestResourcesOfPods(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spec  corev1.PodSpec
		class string
		want  cgroup.Resources
	}{
		{"best effort", corev1.PodSpec{Containers: []corev1.Container{{}}}, "besteffort/", cgroup.Resources{CPUShares: 2}},
		{"guaranteed", corev1.PodSpec{Containers: []corev1.Container{
			container([]string{"cpu", "500m", "memory", "64Mi"}, []string{"cpu", "500m", "memory", "64Mi"}),
			container([]string{"cpu", "250m", "memory", "64Mi"}, []string{"cpu", "250m", "memory", "64Mi"}),
		}}, "", cgroup.Resources{CPUShares: 768, CPUQuota: 75_000, CPUPeriod: 100_000, Memory: 128 << 20}},
		{"requests alone", corev1.PodSpec{Containers: []corev1.Container{container([]string{"cpu", "2"}, nil)}}, "burstable/",
			cgroup.Resources{CPUShares: 2048}},
		{"a limit on one of two containers", corev1.PodSpec{Containers: []corev1.Container{
			container([]string{"cpu", "1"}, []string{"cpu", "2", "memory", "64Mi"}), container([]string{"cpu", "1"}, []string{"cpu", "1"}),
		}}, "burstable/", cgroup.Resources{CPUShares: 2048, CPUQuota: 300_000, CPUPeriod: 100_000}},
		{"a larger init container, a sidecar and overhead", corev1.PodSpec{
			InitContainers: []corev1.Container{
				func() corev1.Container {
					c := container([]string{"cpu", "1"}, nil)
					c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
					return c
				}(),
				container([]string{"cpu", "3"}, nil),
			},
			Containers: []corev1.Container{container([]string{"cpu", "1"}, nil)}, Overhead: schedulingtest.List("cpu", "500m"),
		}, "burstable/", cgroup.Resources{CPUShares: 4608}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: tc.spec}
			pod.UID = "u"
			tc.want.Pids = podPids
			if got := podResources(pod); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
			if got, want := cgroupParent("node", pod), "/node/"+tc.class+"podu"; got != want {
				t.Errorf("group %s, want %s", got, want)
			}
		})
	}
}

// TestClassesWeighWhatTheirPodsAskFor lets pods come and go and looks at the groups above theirs.
func TestClassesWeighWhatTheirPodsAskFor(t *testing.T) {
	b := newBench(t)
	burstable := func(name, cpu string) *corev1.Pod {
		pod := newPod(name, corev1.RestartPolicyAlways, "main")
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
		pod.Spec.Containers[0].Resources.Requests = schedulingtest.List("cpu", cpu)
		return pod
	}
	weighs := func(what string, shares uint64) {
		t.Helper()
		b.runtime.until(t, what, func() bool { r, ok := b.groups.get("/test/burstable"); return ok && r.CPUShares == shares })
	}
	one := b.create(burstable("one", "1"))
	weighs("the class weighs one pod", 1024)
	b.create(burstable("two", "500m"))
	weighs("the class weighs both pods", 1536)
	if r, ok := b.groups.get("/test/besteffort"); !ok || r.CPUShares != 2 {
		t.Errorf("best effort has %+v", r)
	}
	if r, ok := b.groups.get("/test"); !ok || r.CPUShares != 4096 || r.Memory != 4<<30 {
		t.Errorf("the node's group has %+v", r)
	}
	group := cgroupParent("test", one)
	if r, ok := b.groups.get(group); !ok || r.CPUShares != 1024 {
		t.Errorf("the pod's group %s has %+v", group, r)
	}
	b.delete("one", metav1.DeleteOptions{})
	b.status("one", "gone", func(pod *corev1.Pod) bool { return pod == nil })
	if _, ok := b.groups.get(group); ok {
		t.Errorf("group %s outlives its pod", group)
	}
	b.create(burstable("three", "2"))
	weighs("the class weighs the pods that are there", 2560)
}
