package looptest

import (
	"context"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/controller/podstate"
)

// Behaviour says how long a pod takes until it is ready, and whether it ever is.
type Behaviour func(*corev1.Pod) (time.Duration, bool)

// Always lets every pod become ready after the same time.
func Always(after time.Duration) Behaviour {
	return func(*corev1.Pod) (time.Duration, bool) { return after, true }
}

// RunPods stands in for scheduler and nodes: it binds each pod to a node of the name "node", makes it ready as the
// behaviour says, and lets pods that are deleted end after a second. It works until the test ends.
func RunPods(t *testing.T, objects client.Objects, behaviour Behaviour) {
	t.Helper()
	RunPodsOn(t, objects, behaviour, func() string { return "node" }, func(string) bool { return true })
}

// RunPodsOn is RunPods on the node that target names for each new pod. On nodes that aren't alive nothing
// starts and nothing ends.
func RunPodsOn(t *testing.T, objects client.Objects, behaviour Behaviour, target func() string, alive func(node string) bool) {
	t.Helper()
	k := &kubelet{objects: objects, behaviour: behaviour, alive: alive}
	t.Cleanup(k.pods.Wait) // runs after the watch, which starts them, has ended
	watchPods(t, objects, func(ctx context.Context, event watch.Event, pod *corev1.Pod) {
		switch {
		case event.Type == watch.Added && pod.Spec.NodeName == "":
			node := target()
			k.pods.Go(func() { k.start(ctx, pod, node) })
		case event.Type == watch.Modified && pod.DeletionTimestamp != nil:
			k.pods.Go(func() { k.end(ctx, pod) })
		}
	})
}

type kubelet struct {
	objects   client.Objects
	behaviour Behaviour
	alive     func(node string) bool
	pods      sync.WaitGroup
}

func (k *kubelet) start(ctx context.Context, pod *corev1.Pod, node string) {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}
	if client.Bind(ctx, k.objects, binding) != nil {
		return // it is gone already
	}
	after, ready := k.behaviour(pod)
	if !ready || !pause(ctx, after) || !k.alive(node) {
		return
	}
	typed := client.For[*corev1.Pod](k.objects)
	for ctx.Err() == nil {
		now, err := typed.Get(ctx, pod.Namespace, pod.Name)
		if err != nil || now.UID != pod.UID || now.DeletionTimestamp != nil {
			return
		}
		now = now.DeepCopy()
		MakeReady(now, now.Spec.NodeName, metav1.Now())
		if _, err = typed.UpdateStatus(ctx, now); !apierrors.IsConflict(err) {
			return
		}
	}
}

func (k *kubelet) end(ctx context.Context, pod *corev1.Pod) {
	if !pause(ctx, time.Second) || !k.alive(pod.Spec.NodeName) {
		return
	}
	// That it is gone already is as good.
	_ = client.For[*corev1.Pod](k.objects).Delete(ctx, pod.Namespace, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: &pod.UID}})
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// OnPods calls check with all pods that haven't ended, after each change of one.
func OnPods(t *testing.T, objects client.Objects, check func([]*corev1.Pod)) {
	t.Helper()
	pods := map[string]*corev1.Pod{}
	for _, pod := range List[*corev1.Pod](t, objects, metav1.NamespaceAll) {
		pods[string(pod.UID)] = pod
	}
	watchPods(t, objects, func(_ context.Context, event watch.Event, pod *corev1.Pod) {
		if event.Type == watch.Deleted || podstate.Ended(pod) {
			delete(pods, string(pod.UID))
		} else {
			pods[string(pod.UID)] = pod
		}
		all := make([]*corev1.Pod, 0, len(pods))
		for _, pod := range pods {
			all = append(all, pod)
		}
		check(all)
	})
}

// watchPods calls handle for each change of a pod from now until the test ends.
func watchPods(t *testing.T, objects client.Objects, handle func(context.Context, watch.Event, *corev1.Pod)) {
	t.Helper()
	typed := client.For[*corev1.Pod](objects)
	_, version, err := typed.List(t.Context(), metav1.NamespaceAll, metav1.ListOptions{})
	if err != nil {
		t.Fatalf("listing pods: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w, err := typed.Watch(ctx, metav1.NamespaceAll, metav1.ListOptions{ResourceVersion: version})
	if err != nil {
		cancel()
		t.Fatalf("watching pods: %v", err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for event := range w.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok {
				handle(ctx, event, pod)
			}
		}
	})
	t.Cleanup(func() { cancel(); done.Wait(); w.Stop() })
}
