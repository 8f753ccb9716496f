package cached_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/looptest"
)

const late = 10 * time.Second

// kind is a Kind of pods whose cache is late.
func kind(t *testing.T, cluster client.Objects) *cached.Kind[*corev1.Pod] {
	stale := &looptest.Stale{Objects: cluster, Delay: func(string) time.Duration { return late }}
	informers := client.NewInformers(stale)
	cached.IndexPodsByNode(informers)
	cached.IndexPodsByNode(informers) // as a second controller would
	pods := cached.New[*corev1.Pod](informers, stale)
	looptest.Start(t, informers)
	looptest.Settle(time.Minute)
	return pods
}

func newPod(name, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{NodeName: node}}
}

// state is what reads of pod a say, one way or another.
func state(pods *cached.Kind[*corev1.Pod]) string {
	pod, ok := pods.Get("default", "a")
	if !ok {
		return fmt.Sprintf("absent %d %d %d", len(pods.All()), len(pods.By(cached.ByNode, "one")), len(pods.By(cached.ByNode, "two")))
	}
	return fmt.Sprintf("%s %d %d %d", pod.Spec.NodeName, len(pods.All()), len(pods.By(cached.ByNode, "one")), len(pods.By(cached.ByNode, "two")))
}

func TestReadsItsOwnWritesBeforeTheCacheDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		pods := kind(t, cluster)
		// Each state must show at once, and still when the cache has caught up.
		expect := func(what, want string) {
			t.Helper()
			for _, when := range []time.Duration{0, late / 2, 3 * late} {
				looptest.Settle(when)
				if got := state(pods); got != want {
					t.Errorf("%s, %v later: %s, want %s", what, when, got, want)
				}
			}
		}
		a, err := pods.Create(t.Context(), newPod("a", "one"))
		if err != nil {
			t.Fatal(err)
		}
		expect("created", "one 1 1 0")
		changed := a.DeepCopy()
		changed.Spec.NodeName = "two"
		if a, err = pods.Update(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		expect("updated", "two 1 0 1")
		if err := pods.Delete(t.Context(), a, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
			t.Fatal(err)
		}
		expect("deleted", "absent 0 0 0")
		if _, err := pods.Create(t.Context(), newPod("a", "one")); err != nil {
			t.Fatal(err)
		}
		expect("created anew", "one 1 1 0")
	})
}

// What others do to an object after our write shows once the cache has it, and nothing of ours hides it.
func TestForgetsItsWriteWhenOthersWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		pods := kind(t, cluster)
		if _, err := pods.Create(t.Context(), newPod("a", "one")); err != nil {
			t.Fatal(err)
		}
		looptest.Change(t, cluster, "default", "a", func(p *corev1.Pod) { p.Spec.NodeName = "two" })
		if got := state(pods); got != "one 1 1 0" {
			t.Errorf("before the cache has it: %s", got)
		}
		looptest.Settle(3 * late)
		if got := state(pods); got != "two 1 0 1" {
			t.Errorf("after the cache has it: %s", got)
		}
		if err := client.For[*corev1.Pod](cluster).Delete(t.Context(), "default", "a", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
			t.Fatal(err)
		}
		looptest.Settle(3 * late)
		if got := state(pods); got != "absent 0 0 0" {
			t.Errorf("after it was deleted: %s", got)
		}
	})
}

func TestWritesAreBoundToWhatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		pods := kind(t, cluster)
		a, err := pods.Create(t.Context(), newPod("a", "one"))
		if err != nil {
			t.Fatal(err)
		}
		looptest.Change(t, cluster, "default", "a", func(p *corev1.Pod) { p.Spec.NodeName = "two" })
		if _, err := pods.Update(t.Context(), a); !apierrors.IsConflict(err) {
			t.Errorf("update of an old version: %v, want a conflict", err)
		}
		if err := pods.Delete(t.Context(), a, metav1.DeleteOptions{}); !apierrors.IsConflict(err) {
			t.Errorf("delete of an old version: %v, want a conflict", err)
		}
	})
}
