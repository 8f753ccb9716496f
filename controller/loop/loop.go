// Package loop is the frame that every controller stands in: informers' events become keys in a
// rate-limited work queue, and a few workers reconcile one key at a time.
package loop

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/supervise"
)

// A key that keeps failing is tried again after firstRetry, then after twice that, up to lastRetry.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Events tells users what happened to an object; *client.Recorder does.
type Events interface {
	Event(obj runtime.Object, eventType, reason, message string)
}

// Options are what every controller takes beside its own.
type Options struct {
	// Workers is how many keys are reconciled at once; 0 means 2.
	Workers int
	// Clock counts delays and retries; nil means the real one.
	Clock clock.WithTicker
	// Logger gets failures; nil discards them.
	Logger *slog.Logger
	// Events takes what users should see beside an object; nil drops it.
	Events Events
	// Metrics observes the work queues; nil observes nothing.
	Metrics workqueue.MetricsProvider
}

// WithDefaults fills in what was left empty.
func (o Options) WithDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Key names an object; Namespace is empty for cluster-scoped kinds.
type Key = cache.ObjectName

// Reconcile brings the world one step nearer to what the object of a key asks for. It must be idempotent
// and decide on what the caches hold, never on why it was called. It is called again after the
// duration if that isn't zero, and after a growing delay on error.
type Reconcile[K comparable] func(ctx context.Context, key K) (again time.Duration, err error)

// Loop calls a Reconcile function for each key whose objects changed. Keys are of type Key in most loops.
//
//  1. A key is never reconciled by two workers at once.
//  2. A change that arrives while its key is being reconciled leads to another call.
//  3. No key is reconciled before all informers of the set hold the whole of their kinds.
//  4. When Run has returned, no worker is running.
//  5. A panic is its key's failure, or the loss of one event: it ends neither the loop nor the process.
type Loop[K comparable] struct {
	name      string
	informers *client.Informers
	options   Options
	reconcile Reconcile[K]
	queue     workqueue.TypedRateLimitingInterface[K]
	handlers  []cache.InformerSynced
}

// New makes a loop over the informers of a set that isn't running yet. Run must be called once, for it
// also releases what the loop holds.
func New[K comparable](name string, informers *client.Informers, options Options, reconcile Reconcile[K]) *Loop[K] {
	options = options.WithDefaults()
	options.Logger = options.Logger.With("controller", name)
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[K](firstRetry, lastRetry)
	return &Loop[K]{
		name:      name,
		informers: informers,
		options:   options,
		reconcile: reconcile,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[K]{
			Name:            name,
			Clock:           options.Clock,
			MetricsProvider: options.Metrics,
		}),
	}
}

// Options are the loop's, with nothing left empty and a logger that names the controller.
func (l *Loop[K]) Options() Options { return l.options }

// Eventf tells users what happened to an object.
func (l *Loop[K]) Eventf(obj runtime.Object, eventType, reason, format string, args ...any) {
	if l.options.Events != nil {
		l.options.Events.Event(obj, eventType, reason, fmt.Sprintf(format, args...))
	}
}

// Add asks for a key's reconciliation.
func (l *Loop[K]) Add(keys ...K) {
	for _, key := range keys {
		l.queue.Add(key)
	}
}

// Watch asks for the reconciliation of the keys that keys derives from each object of kind T that came,
// changed or went; for a change, from its old and its new state.
func Watch[T client.Object, K comparable](l *Loop[K], keys func(T) []K) {
	keysOf := func(obj any) []K {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if t, ok := obj.(T); ok {
			return keys(t)
		}
		return nil
	}
	add := func(obj any) { l.Add(keysOf(obj)...) }
	l.Handle(client.InformerFor[T](l.informers), cache.ResourceEventHandlerFuncs{
		AddFunc:    add,
		DeleteFunc: add,
		UpdateFunc: func(before, now any) {
			concerned := keysOf(now)
			for _, key := range keysOf(before) {
				// Each key once: a worker may take the first before the second is added.
				if !slices.Contains(concerned, key) {
					concerned = append(concerned, key)
				}
			}
			l.Add(concerned...)
		},
	})
}

// Handle adds a handler of events, which may only Add keys, to an informer of the loop's set. Most loops
// need no more than Watch.
func (l *Loop[K]) Handle(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	registration, err := informer.AddEventHandler(supervise.Handler(l.name, l.options.Logger, handler))
	if err != nil {
		panic("loop.Handle: the informers have been stopped before the loop was made: " + err.Error())
	}
	l.handlers = append(l.handlers, registration.HasSynced)
}

// WatchSelf asks for the reconciliation of each object of kind T under its own key.
func WatchSelf[T client.Object](l *Loop[Key]) {
	Watch(l, func(obj T) []Key { return []Key{KeyOf(obj)} })
}

// KeyOf is an object's own key.
func KeyOf(obj client.Object) Key {
	return Key{Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// Run works until ctx ends and returns when the last worker has. The informers must be running or about to.
func (l *Loop[K]) Run(ctx context.Context) error {
	defer l.queue.ShutDown()
	if !l.informers.WaitForSync(ctx) || !cache.WaitForCacheSync(ctx.Done(), l.handlers...) {
		return ctx.Err()
	}
	stop := context.AfterFunc(ctx, l.queue.ShutDown)
	defer stop()
	var workers sync.WaitGroup
	for range l.options.Workers {
		workers.Go(func() {
			for l.next(ctx) {
			}
		})
	}
	workers.Wait()
	return ctx.Err()
}

// next reconciles one key; it is false when the queue was shut down.
func (l *Loop[K]) next(ctx context.Context) bool {
	key, shutdown := l.queue.Get()
	if shutdown {
		return false
	}
	defer l.queue.Done(key)
	if ctx.Err() != nil {
		return true
	}
	var again time.Duration
	err := supervise.Call(l.name, l.options.Logger, func() (err error) {
		again, err = l.reconcile(ctx, key)
		return err
	})
	if err != nil {
		l.retry(ctx, key, err)
		return true
	}
	l.queue.Forget(key)
	if again > 0 {
		l.queue.AddAfter(key, again)
	}
	return true
}

// retry puts a key that failed back. A conflict is no fault: what was decided on has changed, and the
// change is on its way to the caches.
func (l *Loop[K]) retry(ctx context.Context, key K, err error) {
	switch {
	case ctx.Err() != nil:
		return
	case apierrors.IsConflict(err):
		l.options.Logger.Debug("decided on an old version, deciding again", "key", fmt.Sprint(key), "error", err)
	default:
		l.options.Logger.Warn("reconciling failed, will be tried again", "key", fmt.Sprint(key),
			"failures", l.queue.NumRequeues(key)+1, "error", err)
	}
	l.queue.AddRateLimited(key)
}
