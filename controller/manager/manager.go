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
	"github.com/ctlplane/ctlplane/supervise"
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
	// Loops runs each controller by its name; nil means a set of its own.
	Loops *supervise.Loops
	// Metrics observes the controllers' queues; nil observes nothing. It can be used for one Run after another.
	Metrics workqueue.MetricsProvider
}

// runner is what New of a controller makes.
type runner interface {
	Run(ctx context.Context) error
}

// Run runs all controllers on what objects shows until ctx ends, waits for all that it has started, and returns
// nil. Whatever ctx carries, such as the user that the controllers act as, goes with every request.
//
// A controller that ends is started again, and takes no other along.
//
// Several Runs at once, of a leader and of one that doesn't know yet that it was deposed, do no harm: every
// write is bound to the version that it was decided on.
func Run(ctx context.Context, objects client.Objects, options Options) error {
	newSet(objects, options).runAll(ctx)
	return nil
}

// set is everything that one Run runs.
type set struct {
	objects     client.Objects
	options     Options
	informers   *client.Informers
	controllers []*controller
}

// controller is one of the set's, and how it is made anew.
type controller struct {
	name     string
	recorder *client.Recorder
	make     func(*client.Informers) runner
	first    runner // over the informers that all share; nil: it has run
}

// newSet makes all controllers, over informers that are not running yet.
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
	if options.Loops == nil {
		options.Loops = supervise.NewLoops(options.Logger, nil)
	}
	s := &set{objects: objects, options: options, informers: client.NewInformers(objects)}
	s.add("deployment-controller", func(informers *client.Informers, o loop.Options) runner {
		return deployment.New(informers, objects, o)
	})
	s.add("replicaset-controller", func(informers *client.Informers, o loop.Options) runner {
		return replicaset.New(informers, objects, o)
	})
	s.add("endpoint-slice-controller", func(informers *client.Informers, o loop.Options) runner {
		return endpointslice.New(informers, objects, o)
	})
	s.add("node-controller", func(informers *client.Informers, o loop.Options) runner {
		return node.New(informers, objects, node.Options{
			ClusterCIDR: options.ClusterCIDR, RangeBits: options.NodeRangeBits,
			Grace: options.NodeMonitorGrace, EvictAfter: options.PodEvictionAfter,
		}, o)
	})
	s.add("pod-garbage-collector", func(informers *client.Informers, o loop.Options) runner {
		return podgc.New(informers, objects, podgc.Options{Quarantine: options.NodeMonitorGrace}, o)
	})
	s.add("garbage-collector", func(informers *client.Informers, o loop.Options) runner {
		return garbage.New(informers, objects, o)
	})
	s.add("namespace-controller", func(informers *client.Informers, o loop.Options) runner {
		return namespace.New(informers, objects, o)
	})
	s.add("serviceaccount-controller", func(informers *client.Informers, o loop.Options) runner {
		return serviceaccount.New(informers, objects, options.RootCA, o)
	})
	return s
}

// add makes a controller, with a recorder of events in its name.
func (s *set) add(name string, make func(*client.Informers, loop.Options) runner) {
	recorder := client.NewRecorder(s.objects, name, s.options.Clock)
	recorder.Logger = s.options.Logger
	common := loop.Options{
		Workers: s.options.Workers,
		Clock:   s.options.Clock,
		Logger:  s.options.Logger,
		Events:  recorder,
		Metrics: s.options.Metrics,
	}
	c := &controller{name: name, recorder: recorder, make: func(informers *client.Informers) runner { return make(informers, common) }}
	c.first = c.make(s.informers)
	s.controllers = append(s.controllers, c)
}

// runAll runs all controllers until ctx ends.
func (s *set) runAll(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { s.informers.Run(ctx) })
	for _, c := range s.controllers {
		all.Go(func() { c.recorder.Run(ctx) })
		all.Go(func() {
			s.options.Loops.Run(ctx, c.name, func(ctx context.Context) error { return s.run(ctx, c) })
		})
	}
	all.Wait()
}

// run runs a controller once. One that has ended is made anew over informers of its own: those that all share run already, with
// whatever the last one has left in them.
func (s *set) run(ctx context.Context, c *controller) error {
	if first := c.first; first != nil {
		c.first = nil
		return first.Run(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	informers := client.NewInformers(s.objects)
	again := c.make(informers)
	var following sync.WaitGroup
	following.Go(func() { informers.Run(ctx) })
	defer following.Wait()
	defer cancel()
	return again.Run(ctx)
}
