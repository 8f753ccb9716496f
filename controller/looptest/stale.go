package looptest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/client"
)

// Stale is a cluster whose watches bring each event late, so that the caches that they feed show the past.
type Stale struct {
	client.Objects
	// Delay is how late the next event of a resource is; nil means on time.
	Delay func(resource string) time.Duration
}

// RandomDelay delays each event by up to most.
func RandomDelay(seed uint64, most time.Duration) func(string) time.Duration {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, seed))
	return func(string) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(random.Int64N(int64(most)))
	}
}

// Watch is the cluster's watch, delayed. Events keep their order.
func (s *Stale) Watch(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	source, err := s.Objects.Watch(ctx, r, namespace, opts)
	if err != nil || s.Delay == nil {
		return source, err
	}
	w := &delayed{
		source: source,
		delay:  func() time.Duration { return s.Delay(r.Resource) },
		out:    make(chan watch.Event),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	go w.run()
	return w, nil
}

type delayed struct {
	source watch.Interface
	delay  func() time.Duration
	out    chan watch.Event
	once   sync.Once
	stop   chan struct{}
	done   chan struct{}
}

func (w *delayed) ResultChan() <-chan watch.Event { return w.out }

func (w *delayed) Stop() {
	w.once.Do(func() { close(w.stop) })
	<-w.done
}

func (w *delayed) run() {
	defer close(w.done)
	defer close(w.out)
	defer w.source.Stop()
	for event := range w.source.ResultChan() {
		select {
		case <-time.After(w.delay()):
		case <-w.stop:
			return
		}
		select {
		case w.out <- event:
		case <-w.stop:
			return
		}
	}
}
