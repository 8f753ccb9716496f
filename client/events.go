package client

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/ctlplane/ctlplane/api/resource"
)

const (
	maxPendingEvents = 4096            // distinct events that wait to be written; more are dropped
	maxKnownEvents   = 4096            // written events whose count a repeat raises
	eventAttempts    = 3               // how often a write is tried before the event is dropped
	eventRetryDelay  = 1 * time.Second // between the tries
	maxEventMessage  = 1024            // bytes, as the API server checks
)

// Recorder tells users what happened to an object, as Events beside it.
//
//  1. Event never blocks and never fails: what can't be written in time is dropped and counted.
//  2. The same thing told again raises the count of the Event that is there instead of making another.
//  3. Only Run writes; it holds at most maxPendingEvents distinct events.
//
// Host and Logger may be set before the recorder is first used. Event is safe for concurrent use.
type Recorder struct {
	Host   string       // the machine that reports, for components that run on every node
	Logger *slog.Logger // receives what could not be written; nil: nobody does

	events    Typed[*corev1.Event]
	component string
	clock     clock.Clock
	known     *lru.Cache // eventKey → *corev1.Event as it was last written; used by Run only

	mu      sync.Mutex
	pending map[eventKey]*pendingEvent
	order   []eventKey    // pending's keys, oldest first
	wake    chan struct{} // holds one value while order is not empty
	names   int64
	dropped int64
}

// eventKey is what makes two reports the same thing.
type eventKey struct {
	kind, namespace, name, fieldPath string
	uid                              types.UID
	eventType, reason, message       string
}

type pendingEvent struct {
	regarding   corev1.ObjectReference
	count       int32
	first, last metav1.Time
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
		r.drop(reason, fmt.Errorf("%d events are waiting already", maxPendingEvents))
	}
}

// Dropped is the number of reports that were lost so far.
func (r *Recorder) Dropped() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}

// Run writes what is reported until ctx ends; what still waits then is lost.
func (r *Recorder) Run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		for key, event := r.dequeue(); event != nil && ctx.Err() == nil; key, event = r.dequeue() {
			r.writeWithRetry(ctx, key, event)
		}
	}
}

func (r *Recorder) enqueue(key eventKey, regarding corev1.ObjectReference, now metav1.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if event, ok := r.pending[key]; ok {
		event.count++
		event.last = now
		return true
	}
	if len(r.order) >= maxPendingEvents {
		return false
	}
	r.pending[key] = &pendingEvent{regarding: regarding, count: 1, first: now, last: now}
	r.order = append(r.order, key)
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return true
}

func (r *Recorder) dequeue() (eventKey, *pendingEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.order) == 0 {
		return eventKey{}, nil
	}
	key := r.order[0]
	r.order = r.order[1:]
	event := r.pending[key]
	delete(r.pending, key)
	return key, event
}

func (r *Recorder) drop(reason string, err error) {
	r.mu.Lock()
	r.dropped++
	r.mu.Unlock()
	if r.Logger != nil {
		r.Logger.Warn("an event was lost", "component", r.component, "reason", reason, "error", err)
	}
}

func (r *Recorder) writeWithRetry(ctx context.Context, key eventKey, event *pendingEvent) {
	for attempt := 1; ; attempt++ {
		err := r.write(ctx, key, event)
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
func (r *Recorder) write(ctx context.Context, key eventKey, event *pendingEvent) error {
	if known, ok := r.known.Get(key); ok {
		known := known.(*corev1.Event)
		count := known.Count + event.count
		patch, err := json.Marshal(map[string]any{"count": count, "lastTimestamp": event.last})
		if err != nil {
			return err
		}
		written, err := r.events.Patch(ctx, known.Namespace, known.Name, "", types.MergePatchType, patch)
		if !apierrors.IsNotFound(err) {
			if err == nil {
				r.known.Add(key, written)
			}
			return err
		}
		r.known.Remove(key) // it has expired
	}
	written, err := r.events.Create(ctx, r.newEvent(key, event))
	if err == nil {
		r.known.Add(key, written)
	}
	return err
}

func (r *Recorder) newEvent(key eventKey, event *pendingEvent) *corev1.Event {
	namespace := key.namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	r.names++
	name := fmt.Sprintf("%.230s.%x", key.name, event.first.UnixNano()+r.names)
	return &corev1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: name},
		InvolvedObject:      event.regarding,
		Type:                key.eventType,
		Reason:              key.reason,
		Message:             key.message,
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
