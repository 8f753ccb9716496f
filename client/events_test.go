package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

// hastyClock lets nobody wait: a delay steps the clock at once.
type hastyClock struct{ *testclock.FakeClock }

func (c hastyClock) After(d time.Duration) <-chan time.Time {
	over := c.FakeClock.After(d)
	c.Step(d)
	return over
}

func startRecorder(t *testing.T, c *clienttest.Cluster) (*client.Recorder, *testclock.FakeClock) {
	clock := hastyClock{testclock.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
	recorder := client.NewRecorder(c, "tester", clock)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); recorder.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return recorder, clock.FakeClock
}

func waitForEvents(t *testing.T, c *clienttest.Cluster, condition func([]*corev1.Event) bool) []*corev1.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var events []*corev1.Event
	err := c.WaitUntil(ctx, func() bool {
		events, _, _ = client.For[*corev1.Event](c).List(ctx, "", metav1.ListOptions{})
		return condition(events)
	})
	if err != nil {
		t.Fatalf("%v; events are %+v", err, events)
	}
	return events
}

func TestRecorderCountsRepeats(t *testing.T) {
	c := clienttest.New()
	recorder, clock := startRecorder(t, c)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "a", UID: "u1"}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u2"}}

	recorder.Event(pod, corev1.EventTypeWarning, "FailedScheduling", "no nodes")
	waitForEvents(t, c, func(events []*corev1.Event) bool { return len(events) == 1 })
	clock.Step(time.Minute)
	recorder.Event(pod, corev1.EventTypeWarning, "FailedScheduling", "no nodes")
	recorder.Event(pod, corev1.EventTypeNormal, "Scheduled", "to n1")
	recorder.Event(node, corev1.EventTypeNormal, "Registered", "is new")
	events := waitForEvents(t, c, func(events []*corev1.Event) bool {
		return len(events) == 3 && (events[1].Count == 2 || events[2].Count == 2)
	})
	for _, event := range events {
		if event.Source.Component != "tester" || event.InvolvedObject.APIVersion != "v1" {
			t.Errorf("event is %+v", event)
		}
		switch event.Reason {
		case "FailedScheduling":
			if event.Namespace != "web" || event.InvolvedObject.UID != "u1" || event.LastTimestamp.Sub(event.FirstTimestamp.Time) != time.Minute {
				t.Errorf("repeated event is %+v", event)
			}
		case "Registered":
			if event.Namespace != metav1.NamespaceDefault || event.InvolvedObject.Kind != "Node" {
				t.Errorf("a node's event is %+v", event)
			}
		}
	}
}

func TestRecorderCreatesAgainWhatExpired(t *testing.T) {
	c := clienttest.New()
	recorder, _ := startRecorder(t, c)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "a"}}
	recorder.Event(pod, corev1.EventTypeNormal, "Pulled", "image")
	first := waitForEvents(t, c, func(events []*corev1.Event) bool { return len(events) == 1 })[0]
	if err := client.For[*corev1.Event](c).Delete(t.Context(), first.Namespace, first.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	recorder.Event(pod, corev1.EventTypeNormal, "Pulled", "image")
	second := waitForEvents(t, c, func(events []*corev1.Event) bool { return len(events) == 1 })[0]
	if second.Count != 1 || second.Name == first.Name {
		t.Errorf("second event is %+v", second)
	}
}

func TestRecorderCountsABurst(t *testing.T) {
	c := clienttest.New()
	recorder, _ := startRecorder(t, c)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "a"}}
	const reports = 1000
	for range reports {
		recorder.Event(pod, corev1.EventTypeWarning, "BackOff", "again")
	}
	waitForEvents(t, c, func(events []*corev1.Event) bool { return len(events) == 1 && events[0].Count == reports })
}

func TestRecorderRetriesAndDrops(t *testing.T) {
	c := clienttest.New()
	failing := make(chan error, 10)
	c.OnRequest(func(verb, resource, _, _ string) error {
		if verb != "create" {
			return nil
		}
		select {
		case err := <-failing:
			return err
		default:
			return nil
		}
	})
	recorder, _ := startRecorder(t, c)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "a"}}

	failing <- errors.New("not worth another try")
	recorder.Event(pod, corev1.EventTypeNormal, "One", "")
	recorder.Event(pod, corev1.EventTypeNormal, "Two", "")
	waitForEvents(t, c, func(events []*corev1.Event) bool { return len(events) == 1 })
	deadline := time.After(time.Minute)
	for recorder.Dropped() != 1 {
		select {
		case <-time.After(time.Millisecond):
		case <-deadline:
			t.Fatalf("%d events were dropped, expected 1", recorder.Dropped())
		}
	}

	failing <- apierrors.NewServiceUnavailable("no leader")
	recorder.Event(pod, corev1.EventTypeNormal, "Three", "")
	waitForEvents(t, c, func(events []*corev1.Event) bool { return len(events) == 2 })
}

// TestEventsOfManyPodsAreCombined: when 5,000 pods were placed at once, 858 of their events were lost, and the log said so 858 times.
func TestEventsOfManyPodsAreCombined(t *testing.T) {
	const pods = 5000
	c := clienttest.New()
	var log strings.Builder
	recorder := client.NewRecorder(c, "scheduler", testclock.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
	recorder.Logger = slog.New(slog.NewTextHandler(&log, nil))
	for i := range pods { // before anything is written
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: fmt.Sprint("pod-", i)}}
		recorder.Event(pod, corev1.EventTypeNormal, "Scheduled", fmt.Sprintf("Successfully assigned pod-%d", i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); recorder.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	told := func(events []*corev1.Event) (sum int) {
		for _, event := range events {
			sum += int(event.Count)
		}
		return sum
	}
	events := waitForEvents(t, c, func(events []*corev1.Event) bool { return told(events) >= pods })
	if n := told(events); n != pods || recorder.Dropped() != 0 || log.Len() > 0 {
		t.Errorf("events tell of %d pods, %d were dropped, the log says %q", n, recorder.Dropped(), &log)
	}
	var combined []*corev1.Event
	for _, event := range events {
		if event.Count > 1 {
			combined = append(combined, event)
		}
	}
	if len(combined) != 1 {
		t.Fatalf("%d events are combined ones, want 1", len(combined))
	}
	if event := combined[0]; event.Message != "(combined from similar events): Successfully assigned pod-4999" || event.Reason != "Scheduled" || event.InvolvedObject.Name == "" {
		t.Errorf("the combined event is %+v", event)
	}
}

// TestLostEventsAreToldOnce in a period, with their number.
func TestLostEventsAreToldOnce(t *testing.T) {
	clock := testclock.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	var log strings.Builder
	recorder := client.NewRecorder(clienttest.New(), "tester", clock)
	recorder.Logger = slog.New(slog.NewTextHandler(&log, nil))
	lose := func() {
		for i := range 10_000 {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprint("namespace-", i), Name: "a"}}
			recorder.Event(pod, corev1.EventTypeNormal, "Scheduled", "to a node")
		}
	}
	lose()
	first := recorder.Dropped()
	clock.Step(time.Minute)
	recorder.Event(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "a"}}, corev1.EventTypeNormal, "Pulled", "an image")
	if n := strings.Count(log.String(), "\n"); first == 0 || n != 2 {
		t.Fatalf("%d events were lost, and %d lines tell of it:\n%s", first, n, &log)
	}
	if want := fmt.Sprintf("count=%d", first); !strings.Contains(log.String(), want) {
		t.Errorf("the log does not say %s, those after the first and the one now:\n%s", want, &log)
	}
}
