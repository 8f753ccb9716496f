package e2e

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/dev"
	"github.com/ctlplane/ctlplane/test/fleet"
)

// How large TestScale is: see docs/performance.md.
var (
	scaleNodes   = flag.Int("scale.nodes", 200, "nodes that TestScale registers")
	scalePods    = flag.Int("scale.pods", 1000, "pods that TestScale places")
	scaleRounds  = flag.Int("scale.rounds", 1, "how often TestScale does it, each time with a new cluster")
	scaleRace    = flag.Bool("scale.race", false, "run TestScale on a binary with the race detector")
	scaleMinutes = flag.Int("scale.minutes", 5, "how long a round may take, in minutes")
)

const (
	scaleNamespaces = 10
	// freshEvery is how often nodes renew their leases, and freshFor how long the masters wait for that: this machine has all of
	// the masters and all of the load.
	freshEvery = 20 * time.Second
	freshFor   = 3 * time.Minute
)

// TestScale registers nodes at three masters, has them place pods, half of them of deployments, and kills the leader when half of the
// pods have their node. No other process ends, every pod is placed, and no log grows without limit.
func TestScale(t *testing.T) {
	program := binary
	if *scaleRace {
		program = buildRace(t)
	}
	for round := range *scaleRounds {
		t.Run(fmt.Sprint("round ", round+1), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*scaleMinutes)*time.Minute)
			defer cancel()
			s := newScale(t, ctx, program, 0)
			s.register(*scaleNodes)
			killed := s.place(*scalePods)
			s.judge(killed)
		})
	}
}

// scale is one round.
type scale struct {
	t       *testing.T
	ctx     context.Context
	cluster *dev.Cluster
	objects client.Objects
	fleet   *fleet.Fleet
	placed  *placements
}

func newScale(t *testing.T, ctx context.Context, program string, nodes int) *scale {
	t.Helper()
	c := startBinary(t, program, 3, nodes, "--node-monitor-grace", freshFor.String(), "--pod-eviction-after", "10m", "--cluster-cidr", "10.128.0.0/12")
	objects := connect(t, c.Masters[0].Access).Objects()
	return &scale{t: t, ctx: ctx, cluster: c, objects: objects, fleet: fleet.New(objects), placed: followPlacements(t, objects)}
}

func (s *scale) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// register makes the nodes, and keeps them fresh until the test ends.
func (s *scale) register(nodes int) {
	s.t.Helper()
	began := time.Now()
	s.must(s.fleet.Register(s.ctx, nodes))
	s.t.Logf("%d nodes registered in %v", nodes, time.Since(began).Round(100*time.Millisecond))
	ctx, stop := context.WithCancel(context.WithoutCancel(s.ctx))
	var fresh sync.WaitGroup
	fresh.Go(func() { s.fleet.KeepFresh(ctx, nodes, freshEvery) })
	s.t.Cleanup(func() { stop(); fresh.Wait() })
}

// place makes the pods, kills the leader while they are placed, and waits until all of them have a node. It answers who was killed.
func (s *scale) place(pods int) *dev.Master {
	s.t.Helper()
	began := time.Now()
	s.must(s.fleet.Namespaces(s.ctx, scaleNamespaces))
	deployed := pods / 2 / scaleNamespaces * scaleNamespaces
	made := make(chan error, 2)
	go func() { made <- s.fleet.Pods(s.ctx, pods-deployed, scaleNamespaces, "100m") }()
	go func() { made <- s.fleet.Deployments(s.ctx, scaleNamespaces, deployed/scaleNamespaces, "100m") }()

	s.placed.wait(s.t, s.ctx, func(all, placed int) bool { return placed >= pods/2 })
	leader, err := s.cluster.Leader(s.ctx)
	s.must(err)
	killed := time.Now()
	leader.Kill()
	for range cap(made) {
		s.must(<-made)
	}
	s.placed.wait(s.t, s.ctx, func(all, placed int) bool { return all == pods && placed == pods })
	s.checkPlaces(pods)
	s.t.Logf("%d pods placed in %v, %v of it after %s was killed", pods, time.Since(began).Round(100*time.Millisecond),
		time.Since(killed).Round(100*time.Millisecond), leader.Name)
	return leader
}

// checkPlaces asks the store for all pods: each has a node that there is, and no node has more than it takes.
func (s *scale) checkPlaces(pods int) {
	s.t.Helper()
	listed, _, err := client.For[*corev1.Pod](s.objects).List(s.ctx, "", metav1.ListOptions{LabelSelector: fleet.PodSelector})
	s.must(err)
	nodes, _, err := client.For[*corev1.Node](s.objects).List(s.ctx, "", metav1.ListOptions{})
	s.must(err)
	room := map[string]int{}
	for _, node := range nodes {
		room[node.Name] = fleet.Capacity
	}
	for _, pod := range listed {
		if _, ok := room[pod.Spec.NodeName]; !ok {
			s.t.Errorf("pod %s/%s is on node %q, which there is not", pod.Namespace, pod.Name, pod.Spec.NodeName)
		}
		if room[pod.Spec.NodeName]--; room[pod.Spec.NodeName] == -1 {
			s.t.Errorf("node %s has more than %d pods", pod.Spec.NodeName, fleet.Capacity)
		}
	}
	if len(listed) != pods {
		s.t.Errorf("the store has %d pods, want %d", len(listed), pods)
	}
}

// judge looks at what is left: no process but the one that was killed has ended, and the logs are fit to be seen.
func (s *scale) judge(killed *dev.Master) {
	s.t.Helper()
	for _, m := range s.cluster.Masters {
		if m != killed && !m.Running() {
			s.t.Errorf("%s has ended", m.Name)
		}
		checkLog(s.t, m.Log)
	}
	for _, n := range s.cluster.Nodes {
		if !n.Running() {
			s.t.Errorf("%s has ended", n.Name)
		}
		checkLog(s.t, n.Log)
	}
}

// placements follows all pods of the fleet, and knows how many there are and how many of them have a node.
type placements struct {
	informer cache.SharedIndexInformer
	changed  chan struct{}
}

func followPlacements(t *testing.T, objects client.Objects) *placements {
	t.Helper()
	ours := func(o *metav1.ListOptions) { o.LabelSelector = fleet.PodSelector }
	p := &placements{informer: client.NewInformer[*corev1.Pod](objects, ours), changed: make(chan struct{}, 1)}
	note := func() {
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
	if _, err := p.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { note() }, UpdateFunc: func(any, any) { note() }, DeleteFunc: func(any) { note() },
	}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { p.informer.RunWithContext(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return p
}

// count gives the pods that are not on their way out, and how many of them have a node.
func (p *placements) count() (all, placed int) {
	for _, obj := range p.informer.GetStore().List() {
		switch pod := obj.(*corev1.Pod); {
		case pod.DeletionTimestamp != nil:
		case pod.Spec.NodeName != "":
			all, placed = all+1, placed+1
		default:
			all++
		}
	}
	return all, placed
}

// countEvery keeps a test from counting all the time while pods are placed.
const countEvery = 50 * time.Millisecond

func (p *placements) wait(t *testing.T, ctx context.Context, enough func(all, placed int) bool) {
	t.Helper()
	pace := time.NewTicker(countEvery)
	defer pace.Stop()
	for {
		all, placed := p.count()
		if enough(all, placed) {
			return
		}
		select {
		case <-p.changed:
		case <-ctx.Done():
			t.Fatalf("%d of %d pods are placed: %v", placed, all, ctx.Err())
		}
		<-pace.C
	}
}
