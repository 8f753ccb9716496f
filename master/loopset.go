package master

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/rest"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/manager"
	"github.com/ctlplane/ctlplane/raftstore"
	"github.com/ctlplane/ctlplane/scheduler"
	"github.com/ctlplane/ctlplane/supervise"
)

// publishEvery is how often the leader looks whether the masters' addresses changed.
const publishEvery = 10 * time.Second

// loopSet is what runs on the leader alone. Each loop is run for itself: one that ends is started again and takes no other along.
type loopSet struct {
	cfg       Config
	settled   *settlement
	registry  *registry.Registry
	member    *raftstore.Member
	rootCA    []byte
	loops     *supervise.Loops
	scheduler *scheduler.Metrics
	queues    *loop.Metrics
}

func newLoopSet(cfg Config, settled *settlement, r *registry.Registry, m *raftstore.Member, rootCA []byte, metrics prometheus.Registerer) *loopSet {
	return &loopSet{
		cfg: cfg, settled: settled, registry: r, member: m, rootCA: rootCA, loops: supervise.NewLoops(cfg.Logger, metrics),
		scheduler: scheduler.NewMetrics(metrics), queues: loop.NewMetrics(metrics),
	}
}

// run runs scheduler and controllers until ctx ends, for one term of leadership.
func (l *loopSet) run(ctx context.Context) error {
	if err := l.registry.WaitReady(ctx); err != nil {
		return err
	}
	select {
	case <-l.settled.done:
	case <-ctx.Done():
		return nil
	}
	var all sync.WaitGroup
	all.Go(func() { l.loops.Run(ctx, "publish", l.publish) })
	all.Go(func() {
		l.loops.Run(ctx, "scheduler", func(ctx context.Context) error {
			s := scheduler.New(asUser{l.registry, auth.System("scheduler"), l.cfg.Logger}, scheduler.Options{Logger: l.cfg.Logger, Metrics: l.scheduler})
			return s.Run(ctx)
		})
	})
	all.Go(func() {
		l.loops.Run(ctx, "controllers", func(ctx context.Context) error {
			return manager.Run(ctx, asUser{l.registry, auth.System("controllers"), l.cfg.Logger}, manager.Options{
				ClusterCIDR: l.settled.settings.ClusterCIDR, NodeRangeBits: l.settled.settings.NodeRangeBits,
				NodeMonitorGrace: l.cfg.NodeMonitorGrace, PodEvictionAfter: l.cfg.PodEvictionAfter,
				RootCA: l.rootCA, Loops: l.loops, Logger: l.cfg.Logger, Metrics: l.queues,
			})
		})
	})
	all.Wait()
	return nil
}

// check tells which loops are not well. It is for people: a member whose loops fail answers requests as well as any other, and the loops
// run here however few clients are sent here.
func (l *loopSet) check() rest.Check {
	return rest.Check{Name: "loops", Advisory: true, Check: func(context.Context) error { return l.loops.Err() }}
}

// publish makes the objects that every cluster has, and keeps the kubernetes service's endpoints at the
// masters' addresses.
func (l *loopSet) publish(ctx context.Context) error {
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	endpoints := &apiEndpoints{log: l.cfg.Logger}
	told := ""
	for {
		err := l.registry.Bootstrap(ctx, endpoints.of(l.apiURLs()))
		switch {
		case err == nil:
			told = ""
		case ctx.Err() == nil && err.Error() != told:
			told = err.Error()
			l.cfg.Logger.Warn("the cluster's own objects are not complete, trying until they are", "error", err, "every", publishEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (l *loopSet) apiURLs() []string {
	var urls []string
	for _, record := range l.member.MemberRecords() {
		urls = append(urls, record.APIURLs...)
	}
	return urls
}
