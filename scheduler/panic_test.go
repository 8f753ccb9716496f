package scheduler

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

// poisoned is a scorer with a fault that one pod meets.
type poisoned struct{}

func (poisoned) Name() string    { return "Poisoned" }
func (poisoned) Weight() float64 { return 1 }

func (poisoned) For(pod *PodInfo) Score {
	if pod.Pod.Name != "poison" {
		return nil
	}
	return func(*NodeInfo) float64 { panic("on this pod") }
}

// TestPanicOfAPluginIsThePodsFailure has one pod panic whenever it is looked at: all others are placed.
func TestPanicOfAPluginIsThePodsFailure(t *testing.T) {
	before := scorers
	scorers = append(before[:len(before):len(before)], poisoned{})
	defer func() { scorers = before }()
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		cluster.Add(testNode("n1", func(*corev1.Node) {}), testNode("n2", func(*corev1.Node) {}))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := New(cluster, Options{}).Run(ctx); err != nil {
				t.Errorf("the scheduler ended: %v", err)
			}
		})
		for i, name := range []string{"poison", "a", "b", "c"} {
			pod := testPod(name, "cpu", []string{"1m", "2m"}[min(i, 1)])
			pod.Namespace = "default"
			cluster.Add(pod)
			time.Sleep(time.Minute)
		}
		pods, _, err := client.For[*corev1.Pod](cluster).List(ctx, "", metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, pod := range pods {
			if (pod.Spec.NodeName == "") != (pod.Name == "poison") {
				t.Errorf("pod %s is on %q", pod.Name, pod.Spec.NodeName)
			}
		}
		cancel()
		running.Wait()
	})
}

// TestPanicOfARequestEndsTheRun has the API panic over a binding: nobody knows what became of it, and a new run finds out.
func TestPanicOfARequestEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		cluster.Add(testNode("n1", func(*corev1.Node) {}))
		remove := cluster.OnRequest(func(verb, resource, _, _ string) error {
			if verb == "create" && resource == "pods/binding" {
				panic("over a binding")
			}
			return nil
		})
		pod := testPod("a")
		pod.Namespace = "default"
		cluster.Add(pod)
		if err := New(cluster, Options{}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "over a binding") {
			t.Fatalf("the scheduler ended with %v", err)
		}
		remove()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := New(cluster, Options{}).Run(ctx); err != nil {
			t.Fatal(err)
		}
		if pod, err := client.For[*corev1.Pod](cluster).Get(t.Context(), "default", "a"); err != nil || pod.Spec.NodeName != "n1" {
			t.Errorf("the pod is on %q, %v", pod.Spec.NodeName, err)
		}
	})
}
