package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/ctlplane/ctlplane/kv/etcdfile"
)

// watchPause is the wait after a watch that broke; it doubles up to maxWatchPause while no watch comes further.
const (
	watchPause    = 200 * time.Millisecond
	maxWatchPause = 5 * time.Second
)

// errCompactedAway says that the etcd has dropped what was to be copied next.
var errCompactedAway = errors.New("etcd has compacted changes away before they were copied; begin again, and let it keep more history meanwhile (--auto-compaction-retention)")

// revision is all that one revision of the etcd changed, in its order.
type revision struct {
	number int64
	events []*mvccpb.Event
}

// records are the changes as a copy takes them.
func (r revision) records() []etcdfile.Record {
	records := make([]etcdfile.Record, len(r.events))
	for i, e := range r.events {
		records[i] = etcdfile.Record{Revision: r.number, Sub: int64(i), Deleted: e.Type == mvccpb.Event_DELETE, KV: e.Kv}
	}
	return records
}

// follow calls visit for every revision from one on, until ctx ends or visit fails. A watch that breaks is made again, at
// another member, from the revision that follows the last one that visit has taken.
//
// It rests on etcd's promise that a message of a watch without fragments has whole revisions.
func (s *Source) follow(ctx context.Context, from int64, withPrevious bool, logger *slog.Logger, visit func(revision) error) error {
	w := watching{source: s, next: from, withPrevious: withPrevious, visit: visit}
	for pause := watchPause; ; pause = min(2*pause, maxWatchPause) {
		before := w.next
		err := w.once(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case w.failed != nil:
			return w.failed
		case errors.Is(err, errCompactedAway), errors.Is(err, errOtherCluster):
			return err
		}
		if w.next != before {
			pause = watchPause
		}
		if pause == watchPause {
			logger.Warn("the watch of the old etcd broke, and is made again", "revision", w.next, "error", err)
		}
		s.next()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// watching is one call of follow.
type watching struct {
	source       *Source
	next         int64
	withPrevious bool
	visit        func(revision) error
	failed       error // of visit
}

// once watches until the watch breaks. What comes faster than visit takes it waits at etcd: clientv3's own watcher would hold it
// in memory.
func (w *watching) once(ctx context.Context) error {
	// It also renews the token, and tells whether the cluster is the same.
	if _, err := w.source.position(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A member that has lost its cluster says so rather than nothing.
	stream, err := pb.NewWatchClient(w.source.admin.ActiveConnection()).Watch(
		metadata.AppendToOutgoingContext(ctx, "hasleader", "true"), grpc.MaxCallRecvMsgSize(maxMessage))
	if err != nil {
		return err
	}
	err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: w.next, PrevKv: w.withPrevious,
	}}})
	if err != nil {
		return err
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := w.take(r); err != nil {
			return err
		}
	}
}

func (w *watching) take(r *pb.WatchResponse) error {
	if err := w.source.sameCluster(r.Header); err != nil {
		return err
	}
	if r.CompactRevision != 0 {
		return fmt.Errorf("%w: revision %d was next, %d is the first that it has", errCompactedAway, w.next, r.CompactRevision)
	}
	if r.Canceled {
		return fmt.Errorf("etcd ended the watch: %s", r.CancelReason)
	}
	for events := r.Events; len(events) > 0; {
		number := events[0].Kv.ModRevision
		n := 1
		for n < len(events) && events[n].Kv.ModRevision == number {
			n++
		}
		if number >= w.next { // it is never less
			if w.failed = w.visit(revision{number, events[:n]}); w.failed != nil {
				return w.failed
			}
			w.next = number + 1
		}
		events = events[n:]
	}
	return nil
}
