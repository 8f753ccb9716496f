// Package manager runs all controllers of a cluster.
package manager

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/controller/deployment"
	"github.com/ctlplane/ctlplane/controller/endpointslice"
	"github.com/ctlplane/ctlplane/controller/garbage"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/namespace"
	"github.com/ctlplane/ctlplane/controller/node"
	"github.com/ctlplane/ctlplane/controller/podgc"
	"github.com/ctlplane/ctlplane/controller/replicaset"
	"github.com/ctlplane/ctlplane/controller/serviceaccount"
)

// Options are what a cluster decides on for its controllers. The zero value works.
type Options struct {
	// ClusterCIDR is what the nodes' pod ranges are cut from; the zero value gives none out.
	ClusterCIDR netip.Prefix
	// NodeRangeBits is the prefix length of a node's pod range; 0 means 24, or 64 in IPv6.
	NodeRangeBits int
	// NodeMonitorGrace is how long a node may be silent before it counts as unreachable; 0 means 40 s.
	NodeMonitorGrace time.Duration
	// PodEvictionAfter is how long pods that don't say otherwise stay on a node that isn't ready or can't be
	// reached; 0 means 5 min.
	PodEvictionAfter time.Duration
	// RootCA, in PEM, is published in each namespace; nil is not.
	RootCA []byte
	// Workers is how many objects each controller works on at once; 0 means 4.
	Workers int
	// Clock is what all controllers count time on; nil means the real one.
	Clock clock.WithTicker
	// Logger gets what goes wrong; nil discards it.
	Logger *slog.Logger
	// Metrics observes the controllers' queues; nil observes nothing. It can be used for one Run after another.
	Metrics workqueue.MetricsProvider
}

// runner is a controller, or what controllers need.
type runner interface {
	Run(ctx context.Context) error
}

// Run runs all controllers on what objects shows until ctx ends, waits for all that it has started, and returns
// nil. Whatever ctx carries, such as the user that the controllers act as, goes with every request.
//
// Several Runs at once, of a leader and of one that doesn't know yet that it was deposed, do no harm: every
// write is bound to the version that it was decided on.
func Run(ctx context.Context, objects client.Objects, options Options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	set := newSet(objects, options)
	var all sync.WaitGroup
	all.Go(func() { set.informers.Run(ctx) })
	for _, recorder := range set.recorders {
		all.Go(func() { recorder.Run(ctx) })
	}
	for _, controller := range set.controllers {
		all.Go(func() {
			if err := controller.Run(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil && err != context.Canceled && err != context.DeadlineExceeded {
		return err
	}
	return nil
}

// set is everything that one Run runs.
type set struct {
	objects     client.Objects
	options     Options
	informers   *client.Informers
	recorders   []*client.Recorder
	controllers []runner
}

func newSet(objects client.Objects, options Options) *set {
	if options.Workers == 0 {
		options.Workers = 4
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	s := &set{objects: objects, options: options, informers: client.NewInformers(objects)}
	s.controllers = []runner{
		deployment.New(s.informers, objects, s.common("deployment-controller")),
		replicaset.New(s.informers, objects, s.common("replicaset-controller")),
		endpointslice.New(s.informers, objects, s.common("endpoint-slice-controller")),
		node.New(s.informers, objects, node.Options{
			ClusterCIDR: options.ClusterCIDR,
			RangeBits:   options.NodeRangeBits,
			Grace:       options.NodeMonitorGrace,
			EvictAfter:  options.PodEvictionAfter,
		}, s.common("node-controller")),
		podgc.New(s.informers, objects, podgc.Options{Quarantine: options.NodeMonitorGrace}, s.common("pod-garbage-collector")),
		garbage.New(s.informers, objects, s.common("garbage-collector")),
		namespace.New(s.informers, objects, s.common("namespace-controller")),
		serviceaccount.New(s.informers, objects, options.RootCA, s.common("serviceaccount-controller")),
	}
	return s
}

// common is the options that all controllers share, with a recorder of events in the given name.
func (s *set) common(component string) loop.Options {
	recorder := client.NewRecorder(s.objects, component, s.options.Clock)
	recorder.Logger = s.options.Logger
	s.recorders = append(s.recorders, recorder)
	return loop.Options{
		Workers: s.options.Workers,
		Clock:   s.options.Clock,
		Logger:  s.options.Logger,
		Events:  recorder,
		Metrics: s.options.Metrics,
	}
}
