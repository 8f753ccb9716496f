// Package scheduler gives pods their nodes.
//
// Pods and nodes come in through informers. Pods without a node wait in a queue, grouped by shape:
// pods that ask for the same share one pass of filters and scores over a snapshot of the nodes.
// Placements are assumed at once, so that the next pass counts on them, and bound concurrently, so
// that a store with group commit can take many bindings in one step; each is guarded by the version
// of the pod that it was decided on.
package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/supervise"
)

// Options are what New can do without. The zero value is a working default.
type Options struct {
	// Name is the scheduler that pods ask for in spec.schedulerName, and the source of its events.
	// Empty: kube-scheduler's, "default-scheduler".
	Name string
	// Informers, when set, are shared with others: whoever gives them runs them.
	Informers *client.Informers
	// Clock counts backoff and time stamps. Nil: the wall clock.
	Clock clock.Clock
	// Logger is told of what goes wrong. Nil: nobody is.
	Logger *slog.Logger
	// Metrics counts attempts. Nil: nobody does.
	Metrics *Metrics
	// BatchSize is how many pods share a pass at most. Zero: 512.
	BatchSize int
	// MaxInFlight is how many bindings and reports wait for the API at the same time. Zero: 1024.
	MaxInFlight int
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = corev1.DefaultSchedulerName
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.BatchSize <= 0 {
		o.BatchSize = 512
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 1024
	}
	return o
}

// Scheduler is one run of the scheduling loop.
//
//  1. One goroutine decides. It is the only user of the snapshot.
//  2. A pod that it places is assumed in the cluster before its binding is sent, and stays so until
//     the binding is seen or has certainly failed: no room is given away twice.
//  3. Objects from informers are never written to.
type Scheduler struct {
	options   Options
	objects   client.Objects
	pods      client.Typed[*corev1.Pod]
	informers *client.Informers
	recorder  *client.Recorder

	queue    *queue
	cluster  *cluster
	snapshot *snapshot
	slots    chan struct{} // one for each request in flight
	requests sync.WaitGroup
	fail     context.CancelCauseFunc // ends the run; set by Run
}

// New makes a scheduler over a cluster's objects. It does nothing before Run, which may be called once.
func New(objects client.Objects, options Options) *Scheduler {
	options = options.withDefaults()
	s := &Scheduler{
		options:   options,
		objects:   objects,
		pods:      client.For[*corev1.Pod](objects),
		informers: options.Informers,
		recorder:  client.NewRecorder(objects, options.Name, options.Clock),
		queue:     newQueue(options.Clock),
		cluster:   newCluster(),
		snapshot:  newSnapshot(),
		slots:     make(chan struct{}, options.MaxInFlight),
	}
	if s.informers == nil {
		s.informers = client.NewInformers(objects)
	}
	s.recorder.Logger = options.Logger
	client.InformerFor[*corev1.Pod](s.informers)
	client.InformerFor[*corev1.Node](s.informers)
	return s
}

// Run schedules until ctx ends, and returns once everything that it started has ended. Its error says
// why it could not begin, or go on; the end of ctx is none. A new scheduler then begins with what there is.
func (s *Scheduler) Run(ctx context.Context) error {
	parent := ctx
	ctx, s.fail = context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer s.requests.Wait()
	defer s.fail(nil)

	s.options.Metrics.queue.Store(s.queue)
	defer s.options.Metrics.queue.CompareAndSwap(s.queue, nil)
	stopFollowing, synced, err := s.follow()
	if err != nil {
		return fmt.Errorf("follow pods and nodes: %w", err)
	}
	defer stopFollowing()
	running.Go(func() { s.recorder.Run(ctx) })
	if s.options.Informers == nil {
		running.Go(func() { s.informers.Run(ctx) })
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	for {
		pods := s.queue.pop(ctx, s.options.BatchSize)
		if len(pods) == 0 {
			if parent.Err() != nil {
				return nil
			}
			return context.Cause(ctx)
		}
		s.schedule(ctx, pods)
	}
}

// schedule places a batch and sends off what follows from it. A panic over it is the batch's failure.
func (s *Scheduler) schedule(ctx context.Context, pods []*entry) {
	var placed []placement
	var left []*entry
	var why diagnosis
	fault := supervise.Call(s.options.Name, s.options.Logger, func() error {
		s.cluster.refresh(s.snapshot)
		placed, left, why = place(pods, s.snapshot)
		return nil
	})
	if fault != nil {
		s.snapshot = s.cluster.anew() // room was taken in the other that nobody has
		for _, e := range pods {
			s.finish(e, resultError)
			s.queue.failed(e, false)
		}
		return
	}
	for _, p := range placed {
		if !s.cluster.assume(p.entry.info, p.node) {
			s.queue.failed(p.entry, false) // it has a node already; when that is seen, it leaves the queue
			continue
		}
		s.send(ctx, func() { s.bind(ctx, p) })
	}
	if len(left) == 0 {
		return
	}
	message := why.message()
	for _, e := range left {
		pod := e.info.Pod
		s.finish(e, resultUnschedulable)
		if s.queue.failed(e, true) {
			s.reportUnschedulable(ctx, pod, message)
		}
	}
}

// send runs a request beside the loop, as soon as there is room for it in flight. After a panic of one nobody knows what it has
// left undone: the run ends.
func (s *Scheduler) send(ctx context.Context, request func()) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	s.requests.Go(func() {
		defer func() { <-s.slots }()
		if fault := supervise.Call(s.options.Name, s.options.Logger, func() error { request(); return nil }); fault != nil {
			s.fail(fault)
		}
	})
}

func (s *Scheduler) finish(e *entry, result string) {
	s.options.Metrics.observe(s.options.Name, result, s.options.Clock.Since(e.since).Seconds())
}
