package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/scheduler"
)

func node(name, cpu string, pods int64) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{
				corev1.ResourceCPU:    resource.MustParse(cpu),
				corev1.ResourceMemory: resource.MustParse("16Gi"),
				corev1.ResourcePods:   *resource.NewQuantity(pods, resource.DecimalSI),
			},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

func pod(name, cpu string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			SchedulerName: corev1.DefaultSchedulerName,
			Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}},
		},
	}
}

// fastClock lets time pass fifty times as fast.
type fastClock struct {
	clock.RealClock
	start time.Time
}

const speed = 50

func (c fastClock) Now() time.Time                  { return c.start.Add(speed * time.Since(c.start)) }
func (c fastClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }
func (c fastClock) NewTimer(d time.Duration) clock.Timer {
	return c.RealClock.NewTimer(d / speed)
}
func (c fastClock) After(d time.Duration) <-chan time.Time { return c.RealClock.After(d / speed) }

// start runs a scheduler until the test ends, with time passing fast.
func start(t testing.TB, c *clienttest.Cluster, options scheduler.Options) {
	t.Helper()
	options.Clock = fastClock{start: time.Now()}
	t.Cleanup(func() {
		if err := c.CheckUnmutated(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := scheduler.New(c, options).Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
}

// nodesOf gives each pod's node.
func nodesOf(t testing.TB, c *clienttest.Cluster) map[string]string {
	t.Helper()
	pods, _, err := client.For[*corev1.Pod](c).List(context.Background(), "", metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]string{}
	for _, p := range pods {
		nodes[p.Name] = p.Spec.NodeName
	}
	return nodes
}

func waitUntil(t testing.TB, c *clienttest.Cluster, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.WaitUntil(ctx, condition); err != nil {
		t.Fatalf("waited for %s: %v; pods are on %v", what, err, nodesOf(t, c))
	}
}

func event(t testing.TB, c *clienttest.Cluster, pod, reason string) *corev1.Event {
	t.Helper()
	events, _, err := client.For[*corev1.Event](c).List(context.Background(), "", metav1.ListOptions{
		FieldSelector: "reason=" + reason + ",involvedObject.name=" + pod,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(events) == 0 {
		return nil
	}
	return events[0]
}

func TestPlacesPods(t *testing.T) {
	c := clienttest.New()
	c.Add(node("n1", "2", 10), node("n2", "2", 10), pod("a", "1"), pod("b", "1"), pod("c", "1"), pod("d", "1"))
	start(t, c, scheduler.Options{})
	waitUntil(t, c, "all pods", func() bool {
		counts := map[string]int{}
		for _, n := range nodesOf(t, c) {
			counts[n]++
		}
		return counts["n1"] == 2 && counts["n2"] == 2
	})
	waitUntil(t, c, "the event", func() bool { return event(t, c, "a", "Scheduled") != nil })
	if e := event(t, c, "a", "Scheduled"); e.Message != "Successfully assigned default/a to "+nodesOf(t, c)["a"] || e.Source.Component != "default-scheduler" {
		t.Errorf("event is %+v", e)
	}
}

func TestLeavesOthersPodsAlone(t *testing.T) {
	c := clienttest.New()
	foreign, gated, ended := pod("foreign", "1"), pod("gated", "1"), pod("ended", "1")
	foreign.Spec.SchedulerName = "another"
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "wait"}}
	ended.Status.Phase = corev1.PodFailed
	c.Add(node("n1", "8", 10), foreign, gated, ended)
	start(t, c, scheduler.Options{})
	c.Add(pod("mine", "1"))
	waitUntil(t, c, "mine", func() bool { return nodesOf(t, c)["mine"] == "n1" })
	for name, on := range nodesOf(t, c) {
		if name != "mine" && on != "" {
			t.Errorf("%s was put on %s", name, on)
		}
	}
	opened := gated.DeepCopy()
	opened.Spec.SchedulingGates = nil
	if _, err := client.For[*corev1.Pod](c).Update(t.Context(), opened); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, c, "the gate's opening", func() bool { return nodesOf(t, c)["gated"] == "n1" })
}

func TestExplainsAndRetriesWhenANodeComes(t *testing.T) {
	c := clienttest.New()
	tainted := node("n2", "8", 10)
	tainted.Spec.Taints = []corev1.Taint{{Key: "team", Value: "blue", Effect: corev1.TaintEffectNoSchedule}}
	c.Add(node("n1", "1", 10), tainted, pod("a", "2"))
	start(t, c, scheduler.Options{})

	const want = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {team: blue}."
	condition := func() corev1.PodCondition {
		p, err := client.For[*corev1.Pod](c).Get(t.Context(), "default", "a")
		if err != nil {
			t.Fatal(err)
		}
		for _, condition := range p.Status.Conditions {
			if condition.Type == corev1.PodScheduled {
				return condition
			}
		}
		return corev1.PodCondition{}
	}
	waitUntil(t, c, "the condition", func() bool { return condition().Message == want })
	if got := condition(); got.Status != corev1.ConditionFalse || got.Reason != corev1.PodReasonUnschedulable {
		t.Errorf("condition is %+v", got)
	}
	waitUntil(t, c, "the event", func() bool { return event(t, c, "a", "FailedScheduling") != nil })
	if e := event(t, c, "a", "FailedScheduling"); e.Message != want || e.Type != corev1.EventTypeWarning {
		t.Errorf("event is %+v", e)
	}

	c.Add(node("n3", "8", 10))
	waitUntil(t, c, "the new node", func() bool { return nodesOf(t, c)["a"] == "n3" })
	if got := condition(); got.Status != corev1.ConditionTrue {
		t.Errorf("condition is %+v", got)
	}
}

func TestRetriesWhenRoomComes(t *testing.T) {
	ctx := t.Context()
	for name, makeRoom := range map[string]func(t *testing.T, c *clienttest.Cluster) error{
		"pod deleted": func(t *testing.T, c *clienttest.Cluster) error {
			return client.For[*corev1.Pod](c).Delete(ctx, "default", "old", metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		},
		"pod ended": func(t *testing.T, c *clienttest.Cluster) error {
			_, err := client.For[*corev1.Pod](c).Patch(ctx, "default", "old", "status", types.MergePatchType, []byte(`{"status":{"phase":"Succeeded"}}`))
			return err
		},
		"node grown": func(t *testing.T, c *clienttest.Cluster) error {
			_, err := client.For[*corev1.Node](c).Patch(ctx, "", "n1", "status", types.MergePatchType, []byte(`{"status":{"allocatable":{"cpu":"2"}}}`))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := clienttest.New()
			old := pod("old", "1")
			old.Spec.NodeName = "n1"
			c.Add(node("n1", "1", 10), old, pod("new", "1"))
			start(t, c, scheduler.Options{})
			waitUntil(t, c, "the failure", func() bool { return event(t, c, "new", "FailedScheduling") != nil })
			if err := makeRoom(t, c); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, c, "the room", func() bool { return nodesOf(t, c)["new"] == "n1" })
		})
	}
}

func TestBindingFailures(t *testing.T) {
	pods := corev1.SchemeGroupVersion.WithResource("pods").GroupResource()
	for name, fail := range map[string]func(c *clienttest.Cluster) error{
		"conflict":    func(*clienttest.Cluster) error { return apierrors.NewConflict(pods, "a", fmt.Errorf("changed")) },
		"refused":     func(*clienttest.Cluster) error { return apierrors.NewForbidden(pods, "a", fmt.Errorf("no")) },
		"broken":      func(*clienttest.Cluster) error { return errors.New("not a status") },
		"unavailable": func(*clienttest.Cluster) error { return apierrors.NewServiceUnavailable("no leader") },
		"done, but the answer is lost": func(c *clienttest.Cluster) error {
			binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Target: corev1.ObjectReference{Name: "n1"}}
			if err := client.Bind(context.Background(), c, binding); err != nil {
				return err
			}
			return apierrors.NewTimeoutError("the outcome is unknown", 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := clienttest.New()
			c.Add(node("n1", "1", 1))
			var failed atomic.Bool
			c.OnRequest(func(verb, resource, _, _ string) error {
				if resource == "pods/binding" && failed.CompareAndSwap(false, true) {
					return fail(c)
				}
				return nil
			})
			metrics := scheduler.NewMetrics(nil)
			start(t, c, scheduler.Options{Metrics: metrics})
			c.Add(pod("a", "1"))
			waitUntil(t, c, "the second try", func() bool { return event(t, c, "a", "Scheduled") != nil })
			if on := nodesOf(t, c)["a"]; on != "n1" {
				t.Errorf("the pod is on %q", on)
			}
			// Nothing is left of the failure: the node is just full.
			c.Add(pod("b", "1"))
			waitUntil(t, c, "the diagnosis", func() bool { return event(t, c, "b", "FailedScheduling") != nil })
			if e := event(t, c, "b", "FailedScheduling"); e.Message != "0/1 nodes are available: 1 Insufficient cpu, 1 Too many pods." {
				t.Errorf("event is %s", e.Message)
			}
		})
	}
}

// TestPodChangedBeforeItsBinding: a pod that is written to while its binding is on its way is bound by
// the version that it has then.
func TestPodChangedBeforeItsBinding(t *testing.T) {
	c := clienttest.New()
	c.Add(node("n1", "1", 1))
	var once sync.Once
	c.OnRequest(func(_, resource, _, _ string) (err error) {
		if resource == "pods/binding" {
			once.Do(func() {
				_, err = client.For[*corev1.Pod](c).Patch(context.Background(), "default", "a", "", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`))
			})
		}
		return err
	})
	start(t, c, scheduler.Options{})
	c.Add(pod("a", "1"))
	waitUntil(t, c, "the binding", func() bool { return nodesOf(t, c)["a"] == "n1" })
}

// TestAlwaysConflicting: a binding that never goes through leaves the loop free, and the room too.
func TestAlwaysConflicting(t *testing.T) {
	c := clienttest.New()
	c.Add(node("n1", "1", 10), pod("a", "1"))
	var once sync.Once
	tried := make(chan struct{})
	c.OnRequest(func(_, resource, _, name string) error {
		if resource == "pods/binding" && name == "a" {
			once.Do(func() { close(tried) })
			return apierrors.NewConflict(corev1.Resource("pods"), name, errors.New("always"))
		}
		return nil
	})
	start(t, c, scheduler.Options{})
	<-tried
	c.Add(pod("b", "1"))
	waitUntil(t, c, "the other pod", func() bool { return nodesOf(t, c)["b"] == "n1" })
}

// TestNeverOvercommits lets bindings fail at random while pods come and go.
func TestNeverOvercommits(t *testing.T) {
	const nodes, slots, pods = 5, 4, 40
	c := clienttest.New()
	for i := range nodes {
		c.Add(node(fmt.Sprintf("n%d", i), "64", slots))
	}
	var requests atomic.Int64
	c.OnRequest(func(_, resource, _, name string) error {
		if resource == "pods/binding" && requests.Add(1)%5 == 0 {
			return apierrors.NewForbidden(corev1.Resource("pods"), name, fmt.Errorf("every fifth"))
		}
		return nil
	})
	start(t, c, scheduler.Options{BatchSize: 7})
	for i := range pods {
		c.Add(pod(fmt.Sprintf("p%d", i), fmt.Sprintf("%d", 1+i%3)))
	}
	deleted := 0
	waitUntil(t, c, "all pods to have had a turn", func() bool {
		counts := map[string]int{}
		for _, n := range nodesOf(t, c) {
			if n != "" {
				counts[n]++
			}
		}
		for n, count := range counts {
			if count > slots {
				t.Fatalf("%s has %d pods, it can have %d", n, count, slots)
			}
		}
		for name, n := range nodesOf(t, c) {
			if n != "" && deleted < pods-nodes*slots {
				if err := client.For[*corev1.Pod](c).Delete(t.Context(), "default", name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err == nil {
					deleted++
				}
			}
		}
		total := 0
		for _, count := range counts {
			total += count
		}
		return total == nodes*slots && len(nodesOf(t, c)) == nodes*slots
	})
}

func TestMetrics(t *testing.T) {
	c, registry := clienttest.New(), prometheus.NewRegistry()
	c.Add(node("n1", "1", 10), pod("fits", "1"), pod("waits", "1"))
	start(t, c, scheduler.Options{Metrics: scheduler.NewMetrics(registry)})
	waitUntil(t, c, "the attempts", func() bool {
		return event(t, c, "waits", "FailedScheduling") != nil || event(t, c, "fits", "FailedScheduling") != nil
	})
	waitUntil(t, c, "the attempts", func() bool {
		return event(t, c, "waits", "Scheduled") != nil || event(t, c, "fits", "Scheduled") != nil
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			got[family.GetName()+" "+label(metric)] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"scheduler_schedule_attempts_total scheduled":             1,
		"scheduler_schedule_attempts_total unschedulable":         1,
		"scheduler_scheduling_attempt_duration_seconds scheduled": 1,
		"scheduler_pending_pods active":                           0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, expected %v", name, got[name], want)
		}
	}
	if got["scheduler_pending_pods unschedulable"]+got["scheduler_pending_pods backoff"] != 1 {
		t.Errorf("metrics are %v", got)
	}
}

// label is the metric's result or queue.
func label(metric *dto.Metric) string {
	labels := metric.GetLabel()
	return labels[len(labels)-1].GetValue()
}

// BenchmarkSchedule schedules 5000 pods on 1000 nodes: of one shape, and each of its own.
func BenchmarkSchedule(b *testing.B) {
	const nodes, pods = 1000, 5000
	for name, cpu := range map[string]func(i int) string{
		"one-shape":     func(int) string { return "100m" },
		"every-its-own": func(i int) string { return fmt.Sprintf("%dm", 100+i%1000) },
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				c := clienttest.New()
				for i := range nodes {
					c.Add(node(fmt.Sprintf("n%d", i), "8", 110))
				}
				for i := range pods {
					c.Add(pod(fmt.Sprintf("p%d", i), cpu(i)))
				}
				var bound atomic.Int64
				done := make(chan struct{})
				c.OnRequest(func(_, resource, _, _ string) error {
					if resource == "pods/binding" && bound.Add(1) == pods {
						close(done)
					}
					return nil
				})
				ctx, cancel := context.WithCancel(b.Context())
				var running sync.WaitGroup
				b.StartTimer()
				running.Go(func() { _ = scheduler.New(c, scheduler.Options{}).Run(ctx) })
				<-done
				b.StopTimer()
				cancel()
				running.Wait()
				b.StartTimer()
			}
			b.ReportMetric(float64(pods*b.N)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}
