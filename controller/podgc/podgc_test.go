package podgc

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/looptest"
)

func start(t *testing.T, objects client.Objects) {
	informers := client.NewInformers(objects)
	looptest.Start(t, informers, New(informers, objects, Options{KeepEnded: 2}, loop.Options{}))
}

func addPod(t *testing.T, cluster client.Objects, name, node string, change func(*corev1.Pod)) {
	t.Helper()
	looptest.Create(t, cluster, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{NodeName: node}})
	if change != nil {
		looptest.Change(t, cluster, "default", name, change)
	}
}

// lastPhase is the phase of the pod whose removal a watch has told of.
func lastPhase(w watch.Interface) corev1.PodPhase {
	for {
		looptest.Settle(0)
		select {
		case event := <-w.ResultChan():
			if event.Type == watch.Deleted {
				return event.Object.(*corev1.Pod).Status.Phase
			}
		default:
			return ""
		}
	}
}

func names(t *testing.T, cluster client.Objects) []string {
	t.Helper()
	var found []string
	for _, pod := range looptest.List[*corev1.Pod](t, cluster, "default") {
		found = append(found, pod.Name)
	}
	slices.Sort(found)
	return found
}

func TestRemovesPodsOfMissingNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		looptest.Create(t, cluster, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "here"}})
		addPod(t, cluster, "safe", "here", nil)
		addPod(t, cluster, "lost", "nowhere", nil)
		addPod(t, cluster, "pending", "", nil)
		looptest.Settle(30 * time.Second)
		if got := names(t, cluster); len(got) != 3 {
			t.Errorf("within the quarantine only %v are left", got)
		}
		looptest.Settle(time.Minute)
		if got := names(t, cluster); !slices.Equal(got, []string{"pending", "safe"}) {
			t.Errorf("left: %v", got)
		}
	})
}

// TestRemovesTerminatingPodsOfNodesThatAreOutOfService has pods that are being deleted on nodes that don't tell of their end. The node
// may still be running them, unless somebody says that it is off.
func TestRemovesTerminatingPodsOfNodesThatAreOutOfService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		off := []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute}}
		addNode := func(name string, ready corev1.ConditionStatus, taints []corev1.Taint) {
			looptest.Create(t, cluster, &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Taints: taints},
				Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
			})
		}
		addNode("silent", corev1.ConditionUnknown, nil)
		addNode("off", corev1.ConditionUnknown, off)
		addNode("back", corev1.ConditionTrue, off)
		for _, node := range []string{"silent", "off", "back"} {
			for _, name := range []string{"leaves-", "stays-"} {
				addPod(t, cluster, name+node, node, func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning })
			}
			if err := client.For[*corev1.Pod](cluster).Delete(t.Context(), "default", "leaves-"+node, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		w, err := client.For[*corev1.Pod](cluster).Watch(t.Context(), "default", metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		looptest.Settle(time.Hour)
		want := []string{"leaves-back", "leaves-silent", "stays-back", "stays-off", "stays-silent"}
		if got := names(t, cluster); !slices.Equal(got, want) {
			t.Errorf("left: %v, want %v", got, want)
		}
		if phase := lastPhase(w); phase != corev1.PodFailed {
			t.Errorf("the last that is seen of the removed pod is that it is %q", phase)
		}
		if err := client.For[*corev1.Node](cluster).Delete(t.Context(), "", "silent", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		looptest.Settle(2 * time.Minute)
		if got := names(t, cluster); !slices.Equal(got, []string{"leaves-back", "stays-back", "stays-off"}) {
			t.Errorf("once the silent node is deleted, left: %v", got)
		}
	})
}

func TestRemovesWhatWasDeletedBeforeItHadANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		addPod(t, cluster, "held", "", func(p *corev1.Pod) { p.Finalizers = []string{"test/hold"} })
		if err := client.For[*corev1.Pod](cluster).Delete(t.Context(), "default", "held", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		var removals atomic.Int32
		cluster.OnRequest(func(verb, resource, _, _ string) error {
			if verb == "delete" && resource == "pods" {
				removals.Add(1)
			}
			return nil
		})
		looptest.Settle(time.Minute)
		if removals.Load() == 0 {
			t.Error("nobody tried to remove the pod")
		}
	})
}

func TestKeepsTheYoungestOfTheEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		looptest.Create(t, cluster, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "here"}})
		for i := range 5 {
			addPod(t, cluster, fmt.Sprintf("ended-%d", i), "here", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
			time.Sleep(2 * time.Second)
		}
		looptest.Settle(time.Minute)
		if got := names(t, cluster); !slices.Equal(got, []string{"ended-3", "ended-4"}) {
			t.Errorf("left: %v", got)
		}
	})
}
