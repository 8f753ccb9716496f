package loop_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/looptest"
)

// journal notes when which key was reconciled.
type journal struct {
	mu    sync.Mutex
	start time.Time
	keys  []string
	times []time.Duration
}

func (j *journal) note(key loop.Key) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keys = append(j.keys, key.String())
	j.times = append(j.times, time.Since(j.start))
	return len(j.keys)
}

func (j *journal) read() ([]string, []time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.keys), slices.Clone(j.times)
}

func run(t *testing.T, cluster client.Objects, options loop.Options, watch func(*loop.Loop[loop.Key]), reconcile loop.Reconcile[loop.Key]) (stop func()) {
	t.Helper()
	informers := client.NewInformers(cluster)
	l := loop.New("test", informers, options, reconcile)
	watch(l)
	return looptest.Start(t, informers, l)
}

func pod(name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels}}
}

func TestFailuresAreRetriedEverMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		j := &journal{start: time.Now()}
		run(t, cluster, loop.Options{}, loop.WatchSelf[*corev1.Pod], func(_ context.Context, key loop.Key) (time.Duration, error) {
			if j.note(key) <= 20 {
				return 0, errors.New("not yet")
			}
			return 0, nil
		})
		looptest.Create(t, cluster, pod("a", nil))
		looptest.Settle(time.Hour)
		keys, times := j.read()
		if len(keys) != 21 {
			t.Fatalf("%d calls, want 20 failures and a success", len(keys))
		}
		if first := times[1] - times[0]; first != 5*time.Millisecond {
			t.Errorf("the first retry came after %v", first)
		}
		if last := times[20] - times[19]; last != 30*time.Second {
			t.Errorf("the last retry came after %v, want the longest delay", last)
		}
	})
}

// TestPanicIsOneKeysFailure has a key whose reconciliation panics time and again, and a handler of events that panics once.
func TestPanicIsOneKeysFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		j := &journal{start: time.Now()}
		watch := func(l *loop.Loop[loop.Key]) {
			loop.Watch(l, func(p *corev1.Pod) []loop.Key {
				if p.Name == "unreadable" {
					panic("in a handler")
				}
				return []loop.Key{loop.KeyOf(p)}
			})
		}
		run(t, cluster, loop.Options{Workers: 1}, watch, func(_ context.Context, key loop.Key) (time.Duration, error) {
			if j.note(key); key.Name == "poison" {
				var none *corev1.Pod
				return 0, errors.New(none.Name)
			}
			return 0, nil
		})
		for _, name := range []string{"poison", "unreadable", "well"} {
			looptest.Create(t, cluster, pod(name, nil))
		}
		looptest.Settle(time.Hour)
		keys, times := j.read()
		if !slices.Contains(keys, "default/well") {
			t.Errorf("reconciled %v", keys)
		}
		if n := len(keys); n < 100 || n > 200 || times[n-1]-times[n-2] != 30*time.Second {
			t.Errorf("%d calls in an hour", n)
		}
	})
}

// A change concerns the keys of the old state and of the new, each once.
func TestChangesConcernOldAndNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		looptest.Create(t, cluster, pod("a", map[string]string{"team": "red"}))
		j := &journal{}
		watch := func(l *loop.Loop[loop.Key]) {
			loop.Watch(l, func(p *corev1.Pod) []loop.Key { return []loop.Key{{Name: p.Labels["team"]}} })
		}
		run(t, cluster, loop.Options{Workers: 1}, watch, func(_ context.Context, key loop.Key) (time.Duration, error) {
			j.note(key)
			return 0, nil
		})
		looptest.Change(t, cluster, "default", "a", func(p *corev1.Pod) { p.Labels["team"] = "blue" })
		looptest.Settle(0)
		looptest.Change(t, cluster, "default", "a", func(p *corev1.Pod) { p.Labels["more"] = "labels" })
		looptest.Settle(0)
		if err := client.For[*corev1.Pod](cluster).Delete(t.Context(), "default", "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		looptest.Settle(0)
		keys, _ := j.read()
		if got := strings.Join(keys, " "); got != "red blue red blue blue" {
			t.Errorf("reconciled %s", got)
		}
	})
}

func TestComesBackWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		j := &journal{start: time.Now()}
		run(t, cluster, loop.Options{}, loop.WatchSelf[*corev1.Pod], func(_ context.Context, key loop.Key) (time.Duration, error) {
			j.note(key)
			return 10 * time.Second, nil
		})
		looptest.Create(t, cluster, pod("a", nil))
		looptest.Settle(35 * time.Second)
		if keys, _ := j.read(); len(keys) != 4 {
			t.Errorf("%d calls in 35 s, want 4", len(keys))
		}
	})
}

// Run waits for the workers, whose context it ends; what is queued then isn't begun.
func TestStopsCleanly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		j := &journal{}
		ended := false
		stop := run(t, cluster, loop.Options{Workers: 1}, loop.WatchSelf[*corev1.Pod], func(ctx context.Context, key loop.Key) (time.Duration, error) {
			j.note(key)
			<-ctx.Done()
			time.Sleep(time.Minute) // as a call that ends late
			ended = true
			return 0, ctx.Err()
		})
		for _, name := range []string{"a", "b", "c"} {
			looptest.Create(t, cluster, pod(name, nil))
		}
		looptest.Settle(0)
		stop()
		if keys, _ := j.read(); len(keys) != 1 || !ended {
			t.Errorf("%d calls begun, the first ended: %v; want one that has ended", len(keys), ended)
		}
	})
}

func TestMetricsHaveTheLoopsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		registry := prometheus.NewRegistry()
		stop := run(t, cluster, loop.Options{Metrics: loop.NewMetrics(registry)}, loop.WatchSelf[*corev1.Pod],
			func(context.Context, loop.Key) (time.Duration, error) { return 0, nil })
		looptest.Create(t, cluster, pod("a", nil))
		looptest.Settle(time.Second)
		stop()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == "workqueue_adds_total" {
				metric := family.GetMetric()[0]
				if metric.GetLabel()[0].GetValue() != "test" || metric.GetCounter().GetValue() != 1 {
					t.Errorf("adds: %v", metric)
				}
				return
			}
		}
		t.Error("no adds were counted")
	})
}
