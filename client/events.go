package client

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/supervise"
)

const (
	maxPendingEvents = 4096            // distinct events that wait to be written; more are combined
	maxCombined      = 256             // combined events that wait beside those; more are dropped
	maxKnownEvents   = 4096            // written events whose count a repeat raises
	eventWriters     = 8               // writes in flight, so that a store with group commit takes them together
	eventAttempts    = 3               // how often a write is tried before the event is dropped
	eventRetryDelay  = 1 * time.Second // between the tries
	maxEventMessage  = 1024            // bytes, as the API server checks
	lossPeriod       = time.Minute     // in which the log is told once of events that were lost
	combinedPrefix   = "(combined from similar events): "
)

// Recorder tells users what happened to an object, as Events beside it.
//
//  1. Event never blocks and never fails: what can't be written is dropped and counted.
//  2. The same thing told again raises the count of the Event that is there instead of making another.
//  3. Only Run writes, a few events at a time; at most maxPendingEvents distinct ones wait for it. What
//     comes beyond is combined: the same reason, told of objects of one kind in one namespace, is one
//     Event about the first of them, with the latest message and their count.
//  4. One event is never written by two at a time: its repeats wait until it is there to be counted up.
//
// Host and Logger may be set before the recorder is first used. Event is safe for concurrent use.
type Recorder struct {
	Host   string       // the machine that reports, for components that run on every node
	Logger *slog.Logger // receives what could not be written; nil: nobody does

	events    Typed[*corev1.Event]
	component string
	clock     clock.Clock
	known     *lru.Cache // eventKey → knownEvent
	names     atomic.Int64
	dropped   atomic.Int64
	loss      loss

	mu      sync.Mutex
	pending map[eventKey]*pendingEvent // what waits, and what is being written
	order   []eventKey                 // of those that wait, oldest first
	wake    chan struct{}              // holds one value when there may be something for another writer
}

// eventKey is what makes two reports the same thing.
type eventKey struct {
	kind, namespace, name, fieldPath string
	uid                              types.UID
	eventType, reason, message       string
}

type pendingEvent struct {
	regarding   corev1.ObjectReference
	combined    string // the latest message, when this stands for many objects' events
	count       int32  // reports that are not written yet; 0: it is being written, and nothing new came
	first, last metav1.Time
}

// knownEvent is an Event that was written, to be counted up.
type knownEvent struct {
	namespace, name string
	count           int32
}

// NewRecorder makes a recorder for a component, such as "scheduler". Nothing is written before Run.
func NewRecorder(objects Objects, component string, c clock.Clock) *Recorder {
	return &Recorder{
		events:    For[*corev1.Event](objects),
		component: component,
		clock:     c,
		known:     lru.New(maxKnownEvents),
		pending:   map[eventKey]*pendingEvent{},
		wake:      make(chan struct{}, 1),
	}
}

// Event reports something about an object of the cluster, or about what an *ObjectReference points
// to. eventType is corev1.EventTypeNormal or EventTypeWarning; reason is one CamelCase word.
func (r *Recorder) Event(obj runtime.Object, eventType, reason, message string) {
	regarding, err := referenceTo(obj)
	if err != nil {
		r.drop(reason, err)
		return
	}
	if len(message) > maxEventMessage {
		message = message[:maxEventMessage-3] + "..."
	}
	key := eventKey{
		kind: regarding.Kind, namespace: regarding.Namespace, name: regarding.Name, fieldPath: regarding.FieldPath,
		uid: regarding.UID, eventType: eventType, reason: reason, message: message,
	}
	now := metav1.NewTime(r.clock.Now())
	if !r.enqueue(key, regarding, now) {
		r.drop(reason, fmt.Errorf("%d events are waiting already", maxPendingEvents+maxCombined))
	}
}

// Dropped is the number of reports that were lost so far.
func (r *Recorder) Dropped() int64 { return r.dropped.Load() }

// Run writes what is reported until ctx ends; what still waits then is lost.
func (r *Recorder) Run(ctx context.Context) {
	var writers sync.WaitGroup
	defer writers.Wait()
	for range eventWriters {
		writers.Go(func() { r.writeAll(ctx) })
	}
}

func (r *Recorder) writeAll(ctx context.Context) {
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			key, event, ok := r.dequeue()
			if !ok {
				break
			}
			r.writeWithRetry(ctx, key, event)
			r.written(key)
		}
	}
}

func (r *Recorder) enqueue(key eventKey, regarding corev1.ObjectReference, now metav1.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if event, ok := r.pending[key]; ok {
		if event.count == 0 {
			event.first = now
		}
		event.count++
		event.last = now
		return true
	}
	if len(r.pending) < maxPendingEvents {
		r.add(key, &pendingEvent{regarding: regarding, count: 1, first: now, last: now})
		return true
	}
	return r.combine(key, regarding, now)
}

// combine lets one event tell what many objects have to say, when too many wait for each to have its own.
func (r *Recorder) combine(key eventKey, regarding corev1.ObjectReference, now metav1.Time) bool {
	message := combinedPrefix + key.message
	if len(message) > maxEventMessage {
		message = message[:maxEventMessage-3] + "..."
	}
	key = eventKey{kind: key.kind, namespace: key.namespace, eventType: key.eventType, reason: key.reason}
	event, ok := r.pending[key]
	switch {
	case !ok && len(r.pending) >= maxPendingEvents+maxCombined:
		return false
	case !ok:
		r.add(key, &pendingEvent{regarding: regarding, combined: message, count: 1, first: now, last: now})
	default:
		if event.count == 0 {
			event.first = now
		}
		event.count++
		event.last, event.combined = now, message
	}
	combinedEvents.WithLabelValues(r.component).Inc()
	return true
}

func (r *Recorder) add(key eventKey, event *pendingEvent) {
	r.pending[key] = event
	r.order = append(r.order, key)
	r.notify()
}

// dequeue takes the oldest event to be written. It stays pending, for its repeats, until written.
func (r *Recorder) dequeue() (eventKey, pendingEvent, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.order) == 0 {
		return eventKey{}, pendingEvent{}, false
	}
	key := r.order[0]
	r.order = r.order[1:]
	if len(r.order) > 0 {
		r.notify()
	}
	taken := *r.pending[key]
	r.pending[key].count = 0
	return key, taken, true
}

// written ends the writing of an event, and lets its repeats have their turn.
func (r *Recorder) written(key eventKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending[key].count == 0 {
		delete(r.pending, key)
		return
	}
	r.order = append(r.order, key)
	r.notify()
}

func (r *Recorder) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Recorder) drop(reason string, err error) {
	r.dropped.Add(1)
	lostEvents.WithLabelValues(r.component).Inc()
	if count, tell := r.loss.add(r.clock.Now()); tell && r.Logger != nil {
		r.Logger.Warn("events were lost", "component", r.component, "count", count, "latestReason", reason, "error", err)
	}
}

// loss tells when the log is to be told of events that were lost: at once, and then once in lossPeriod.
type loss struct {
	mu     sync.Mutex
	untold int
	told   time.Time
}

// add counts one; when it is time to tell, it gives the number of those that were not told of.
func (l *loss) add(now time.Time) (count int, tell bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.untold++
	if !l.told.IsZero() && now.Sub(l.told) < lossPeriod {
		return 0, false
	}
	count, l.untold, l.told = l.untold, 0, now
	return count, true
}

func (r *Recorder) writeWithRetry(ctx context.Context, key eventKey, event pendingEvent) {
	for attempt := 1; ; attempt++ {
		err := supervise.Call("event-recorder", r.Logger, func() error { return r.write(ctx, key, event) })
		if err == nil || ctx.Err() != nil {
			return
		}
		if attempt == eventAttempts || !mayPass(err) {
			r.drop(key.reason, err)
			return
		}
		select {
		case <-r.clock.After(eventRetryDelay):
		case <-ctx.Done():
			return
		}
	}
}

// write raises the count of the Event that says the same, or creates it.
func (r *Recorder) write(ctx context.Context, key eventKey, event pendingEvent) error {
	if known, ok := r.known.Get(key); ok {
		err := r.countUp(ctx, key, known.(knownEvent), event)
		if !apierrors.IsNotFound(err) {
			return err
		}
		r.known.Remove(key) // it has expired
	}
	written, err := r.events.Create(ctx, r.newEvent(key, event))
	if err == nil {
		r.known.Add(key, knownEvent{written.Namespace, written.Name, written.Count})
	}
	return err
}

func (r *Recorder) countUp(ctx context.Context, key eventKey, known knownEvent, event pendingEvent) error {
	known.count += event.count
	change := map[string]any{"count": known.count, "lastTimestamp": event.last}
	if event.combined != "" {
		change["message"] = event.combined
	}
	patch, err := json.Marshal(change)
	if err != nil {
		return err
	}
	if _, err = r.events.Patch(ctx, known.namespace, known.name, "", types.MergePatchType, patch); err == nil {
		r.known.Add(key, known)
	}
	return err
}

func (r *Recorder) newEvent(key eventKey, event pendingEvent) *corev1.Event {
	namespace := key.namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	message := key.message
	if event.combined != "" {
		message = event.combined
	}
	name := fmt.Sprintf("%.230s.%x", event.regarding.Name, event.first.UnixNano()+r.names.Add(1))
	return &corev1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: name},
		InvolvedObject:      event.regarding,
		Type:                key.eventType,
		Reason:              key.reason,
		Message:             message,
		Source:              corev1.EventSource{Component: r.component, Host: r.Host},
		ReportingController: r.component,
		ReportingInstance:   r.Host,
		FirstTimestamp:      event.first,
		LastTimestamp:       event.last,
		Count:               event.count,
	}
}

// mayPass tells errors that another try can get over from those that it can't.
func mayPass(err error) bool {
	return apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsConflict(err)
}

func referenceTo(obj runtime.Object) (corev1.ObjectReference, error) {
	if reference, ok := obj.(*corev1.ObjectReference); ok {
		return *reference, nil
	}
	info, err := resource.Of(obj)
	if err != nil {
		return corev1.ObjectReference{}, err
	}
	object, ok := obj.(Object)
	if !ok {
		return corev1.ObjectReference{}, fmt.Errorf("a %T has no metadata to refer to", obj)
	}
	return corev1.ObjectReference{
		Kind: info.Kind, APIVersion: info.GroupVersion().String(),
		Namespace: object.GetNamespace(), Name: object.GetName(),
		UID: object.GetUID(), ResourceVersion: object.GetResourceVersion(),
	}, nil
}
