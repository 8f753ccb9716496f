package clienttest

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

// Watch streams changes after the options' resource version. Without a version, or with 0, it first
// sends what there is; with sendInitialEvents it marks the end of that with a bookmark. It lives
// until it is stopped or ctx ends: timeouts are ignored.
func (c *Cluster) Watch(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	info, err := c.admit(ctx, "watch", r, "", namespace, "")
	if err != nil {
		return nil, err
	}
	selects, err := selection(info, namespace, opts)
	if err != nil {
		return nil, err
	}
	s := &stream{
		cluster: c,
		info:    info,
		selects: selects,
		results: make(chan watch.Event),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.start(opts); err != nil {
		return nil, err
	}
	c.streams[s] = struct{}{}
	go s.run(ctx)
	return s, nil
}

// stream is one watch: a position in its kind's history and what is to be sent before going on from there.
type stream struct {
	cluster  *Cluster
	info     *resource.Info
	selects  func(client.Object) bool
	initial  []watch.Event
	position int64 // version up to which everything is sent or in initial

	results  chan watch.Event
	stopOnce sync.Once
	stop     chan struct{}
	done     chan struct{} // closed once run has ended
}

// start sets the position and the initial events; the caller holds the cluster's lock.
func (s *stream) start(opts metav1.ListOptions) error {
	var from int64
	if opts.ResourceVersion != "" {
		var err error
		if from, err = strconv.ParseInt(opts.ResourceVersion, 10, 64); err != nil || from < 0 {
			return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q", opts.ResourceVersion))
		}
	}
	t := s.cluster.table(s.info)
	bookmark := opts.SendInitialEvents != nil && *opts.SendInitialEvents
	if !bookmark && from > 0 {
		if from < t.compacted {
			return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", from, t.compacted))
		}
		s.position = from
		return nil
	}
	s.position = s.cluster.version
	if opts.SendInitialEvents != nil && !bookmark {
		return nil
	}
	for _, obj := range t.selected(s.selects) {
		s.initial = append(s.initial, watch.Event{Type: watch.Added, Object: obj})
	}
	if bookmark {
		mark := s.info.New().(client.Object)
		mark.SetResourceVersion(formatVersion(s.position))
		mark.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
		s.initial = append(s.initial, watch.Event{Type: watch.Bookmark, Object: mark})
	}
	return nil
}

// ResultChan gives the events; it is closed when the watch has ended.
func (s *stream) ResultChan() <-chan watch.Event { return s.results }

// Stop ends the watch and waits until it has ended.
func (s *stream) Stop() {
	s.stopOnce.Do(func() { close(s.stop) })
	<-s.done
}

func (s *stream) run(ctx context.Context) {
	defer close(s.done)
	defer close(s.results)
	defer s.unregister()
	if !s.send(ctx, s.initial) {
		return
	}
	s.initial = nil
	for {
		events, changed := s.next()
		if !s.send(ctx, events) {
			return
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-s.stop:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (s *stream) unregister() {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	delete(s.cluster.streams, s)
}

// next takes the changes since the position, and what tells that there are more.
func (s *stream) next() ([]watch.Event, <-chan struct{}) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	t := s.cluster.table(s.info)
	if s.position < t.compacted {
		// History went while this watch was behind it.
		err := apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", s.position, t.compacted))
		s.position = s.cluster.version
		status := err.Status()
		return []watch.Event{{Type: watch.Error, Object: &status}}, s.cluster.changed
	}
	var events []watch.Event
	for _, change := range t.after(s.position) {
		if event, ok := s.event(change); ok {
			events = append(events, event)
		}
	}
	s.position = s.cluster.version
	return events, s.cluster.changed
}

// event turns a change into what a watch with this selection sees of it: an object that starts or
// stops to match comes and goes.
func (s *stream) event(c change) (watch.Event, bool) {
	before := c.before != nil && s.selects(c.before)
	after := c.kind != watch.Deleted && s.selects(c.after)
	switch {
	case after && before:
		return watch.Event{Type: watch.Modified, Object: c.after}, true
	case after:
		return watch.Event{Type: watch.Added, Object: c.after}, true
	case before && c.kind == watch.Deleted:
		return watch.Event{Type: watch.Deleted, Object: c.after}, true
	case before:
		gone := c.before.DeepCopyObject().(client.Object)
		gone.SetResourceVersion(formatVersion(c.version))
		return watch.Event{Type: watch.Deleted, Object: gone}, true
	}
	return watch.Event{}, false
}

// send hands events to the reader; false when the watch is to end.
func (s *stream) send(ctx context.Context, events []watch.Event) bool {
	for _, event := range events {
		select {
		case s.results <- event:
		case <-s.stop:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}
