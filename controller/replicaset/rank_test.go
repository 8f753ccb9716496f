package replicaset

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/controller/looptest"
)

// Each pair differs in one thing, which decides; first is the one to go first.
func TestDeletionOrder(t *testing.T) {
	now := time.Unix(100000, 0)
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	ready := func(change func(*corev1.Pod)) *corev1.Pod {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: ago(time.Hour)}}
		looptest.MakeReady(pod, "a", ago(30*time.Minute))
		if change != nil {
			change(pod)
		}
		return pod
	}
	tests := []struct {
		name          string
		first, second *corev1.Pod
	}{
		{"without a node", ready(func(p *corev1.Pod) { p.Spec.NodeName = "" }), ready(func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending })},
		{"pending", ready(func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }), ready(func(p *corev1.Pod) { p.Status.Phase = corev1.PodUnknown })},
		{"unknown", ready(func(p *corev1.Pod) { p.Status.Phase = corev1.PodUnknown }), ready(func(p *corev1.Pod) { looptest.SetReady(p, corev1.ConditionFalse, ago(0)) })},
		{"not ready", ready(func(p *corev1.Pod) { looptest.SetReady(p, corev1.ConditionFalse, ago(time.Hour)) }), ready(func(p *corev1.Pod) { looptest.SetReady(p, corev1.ConditionTrue, ago(0)) })},
		{"not available", ready(func(p *corev1.Pod) { looptest.SetReady(p, corev1.ConditionTrue, ago(time.Second)) }), ready(func(p *corev1.Pod) {
			p.Annotations = map[string]string{corev1.PodDeletionCost: "-5"}
		})},
		{"cheap", ready(func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-5"} }), ready(func(p *corev1.Pod) { p.Spec.NodeName = "crowded" })},
		{"with siblings on its node", ready(func(p *corev1.Pod) { p.Spec.NodeName = "crowded" }), ready(func(p *corev1.Pod) { looptest.SetReady(p, corev1.ConditionTrue, ago(20*time.Minute)) })},
		{"ready for less long", ready(func(p *corev1.Pod) { looptest.SetReady(p, corev1.ConditionTrue, ago(20*time.Minute)) }), ready(func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}}
		})},
		{"restarted more often", ready(func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}} }), ready(func(p *corev1.Pod) { p.CreationTimestamp = ago(time.Minute) })},
		{"younger", ready(func(p *corev1.Pod) { p.CreationTimestamp = ago(time.Minute) }), ready(nil)},
		{"by name at last", ready(func(p *corev1.Pod) { p.Name = "a" }), ready(func(p *corev1.Pod) { p.Name = "b" })},
	}
	together := map[string]int{"a": 1, "crowded": 3}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, pods := range [][]*corev1.Pod{{test.first, test.second}, {test.second, test.first}} {
				if chosen := victims(pods, 1, together, time.Minute, now); len(chosen) != 1 || chosen[0] != test.first {
					t.Error("the other one was chosen")
				}
			}
		})
	}
}

func TestVictimsAreActive(t *testing.T) {
	ended := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed}}
	going := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: ptr.To(metav1.Now())}}
	if chosen := victims([]*corev1.Pod{ended, going}, 5, nil, 0, time.Now()); len(chosen) != 0 {
		t.Errorf("%d chosen, want none", len(chosen))
	}
}
