package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// settlePatience is how long no event may come, with some missing, before they are taken for lost.
const settlePatience = 10 * time.Second

// fanout is watchers, the puts that they see, and the account of who has seen what.
//
//  1. Every put holds a slot from before it is sent until it is answered and each of its watchers has seen its event.
//  2. A slot's open is what is missing of those: one for the answer and one a watcher.
//  3. A put that failed may have happened or not: its slot is given up. As it is never answered, its open never falls to 0.
//  4. free holds the slots that no put holds, so that at most as many puts are under way as there are slots.
type fanout struct {
	run  *Run
	base time.Time // of the stamps
	keys int
	on   []int64 // watchers on each key

	slots []slotState
	free  chan uint32
	lost  atomic.Int64 // slots given up

	puts, all, afterAnswer *Series // puts answered; events at the last of their watchers; events after the put's answer, may be nil

	cancel    context.CancelFunc
	streams   []grpc.ClientStream
	listen    sync.Once // starts the receivers, once there is a window that events fall into
	receivers sync.WaitGroup
	mu        sync.Mutex
	broken    error // of a stream that ended by itself
}

type slotState struct {
	open     atomic.Int64
	answered atomic.Int64 // when, since base, in ns; 0: not yet
}

// newFanout opens streams with watchers on each, spread over keys, and waits until all of them watch. As many as ahead
// puts may be under way. close ends it.
func newFanout(ctx context.Context, r *Run, streams, watchers, keys, ahead int) (*fanout, error) {
	switch {
	case streams <= 0 || watchers <= 0 || keys <= 0 || ahead <= 0:
		return nil, errors.New("streams, watchers, watched keys and puts ahead have to be positive")
	case keys > r.KeySpace:
		return nil, fmt.Errorf("there are %d keys to be watched, and only %d in the key space", keys, r.KeySpace)
	case r.ValueSize < stampBytes:
		return nil, fmt.Errorf("a watched value carries the time of its put: make --value-size %d or more", stampBytes)
	}
	if err := r.Connect(); err != nil {
		return nil, err
	}
	f := &fanout{
		run: r, base: r.Clock.Now(), keys: keys, on: make([]int64, keys), slots: make([]slotState, ahead),
		free: make(chan uint32, ahead), puts: r.Series("puts"), all: r.Series("last watcher"),
	}
	for i := range ahead {
		f.free <- uint32(i)
	}
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for s := range streams {
		if err := f.open(ctx, s, watchers); err != nil {
			f.close()
			return nil, fmt.Errorf("open %d watchers: %w", streams*watchers, err)
		}
	}
	return f, nil
}

// open starts one stream of watchers.
func (f *fanout) open(ctx context.Context, stream, watchers int) error {
	conn := f.run.Conn(stream)
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	s, err := conn.NewStream(ctx, both, pb.Watch_Watch_FullMethodName, grpc.ForceCodecV2(frameCodec{}))
	if err != nil {
		return err
	}
	var frame watchFrame
	for w := range watchers {
		key := (stream*watchers + w) % f.keys
		create := &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: f.run.key(key)}}
		if err := s.SendMsg(&pb.WatchRequest{RequestUnion: create}); err != nil {
			return err
		}
		if err := s.RecvMsg(&frame); err != nil {
			return err
		}
		if !frame.created || frame.canceled {
			return fmt.Errorf("a watch was refused: %s", frame.reason)
		}
		f.on[key]++
	}
	f.streams = append(f.streams, s)
	return nil
}

func (f *fanout) startReceivers() {
	for i, s := range f.streams {
		f.receivers.Go(func() { f.receive(s, i) })
	}
}

func (f *fanout) receive(s grpc.ClientStream, stream int) {
	var frame watchFrame
	for {
		err := s.RecvMsg(&frame)
		if err == nil && frame.canceled {
			err = fmt.Errorf("a watch was cancelled: %s", frame.reason)
		}
		if err != nil {
			if s.Context().Err() == nil {
				f.mu.Lock()
				f.broken = errors.Join(f.broken, fmt.Errorf("watch stream: %w", err))
				f.mu.Unlock()
				f.run.window.finish()
			}
			return
		}
		now := f.run.Clock.Now()
		for _, e := range frame.stamps {
			f.seen(stream, e, now)
		}
	}
}

// seen notes that one watcher has got an event.
func (f *fanout) seen(stream int, e stamp, now time.Time) {
	if int(e.slot) >= len(f.slots) {
		return // of an earlier run
	}
	due := f.base.Add(e.due)
	f.run.Observe(f.run.main, stream, due, now)
	slot := &f.slots[e.slot]
	if f.afterAnswer != nil {
		answered := now
		if at := slot.answered.Load(); at != 0 {
			answered = f.base.Add(time.Duration(at))
		}
		if f.run.window.covers(due) {
			f.afterAnswer.add(stream, answered, now)
		}
	}
	if slot.open.Add(-1) == 0 {
		f.release(stream, e, now)
	}
}

// release makes the slot of a put that everybody has seen free again.
func (f *fanout) release(client int, e stamp, now time.Time) {
	f.run.Observe(f.all, client, f.base.Add(e.due), now)
	f.free <- e.slot
}

// putter is one client's work: puts on the watched keys in turn, as long as the run lasts.
func (f *fanout) putter(ctx context.Context, client int) {
	f.listen.Do(f.startReceivers)
	r := f.run
	kv, p := pb.NewKVClient(r.Conn(client)), r.Payload(client)
	req := &pb.PutRequest{Key: make([]byte, r.KeySize), Value: make([]byte, r.ValueSize)}
	copy(req.Value, p.Value())
	for due, ok := r.Next(ctx); ok; due, ok = r.Next(ctx) {
		var e stamp
		select {
		case e.slot = <-f.free:
		case <-ctx.Done():
			return
		}
		if r.Rate == 0 {
			due = r.Clock.Now() // the wait for a free slot is the client's own
		}
		e.due = due.Sub(f.base)
		key := p.Number(f.keys)
		writeKey(req.Key, key)
		e.write(req.Value)
		slot := &f.slots[e.slot]
		slot.answered.Store(0)
		slot.open.Store(f.on[key] + 1)
		_, err := kv.Put(ctx, req)
		r.Record(client, due, err, f.puts)
		if err != nil {
			f.lost.Add(1)
			r.pause()
			continue
		}
		now := r.Clock.Now()
		slot.answered.Store(int64(now.Sub(f.base)))
		if slot.open.Add(-1) == 0 {
			f.release(client, e, now)
		}
	}
}

// errEventsMissing is recorded when watchers have not seen all that was put.
var errEventsMissing = errors.New("watchers have not got all events")

// settle waits until every put has been seen by all its watchers.
func (f *fanout) settle(ctx context.Context) {
	held := len(f.slots) - int(f.lost.Load())
	for range held {
		patience := f.run.Clock.NewTimer(settlePatience)
		select {
		case <-f.free:
			patience.Stop()
		case <-patience.C():
			f.run.recordError(errEventsMissing)
			return
		case <-ctx.Done():
			patience.Stop()
			return
		}
	}
}

// drive applies the load, and says what ended a watch that should have gone on.
func (f *fanout) drive(ctx context.Context) error {
	f.run.Go(ctx, f.putter, f.settle)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}

func (f *fanout) close() {
	f.cancel()
	f.receivers.Wait()
}
