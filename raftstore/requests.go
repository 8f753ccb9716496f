package raftstore

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

// Propose has the group apply a command and returns its result, whose response has a complete header. The
// command must not be changed any more. An error of the command itself (a kv.ErrorCode) is in the result;
// the error beside it means that it was not applied (a bad command, ErrNoLeader, ErrTooManyRequests,
// ErrTooLarge, ErrClosed), or that it is not known whether it was: ErrOutcomeUnknown, and a context's error.
func (m *Member) Propose(ctx context.Context, command kv.Command) (kv.Result, error) {
	type outcome struct {
		result kv.Result
		err    error
	}
	done := make(chan outcome, 1)
	m.ProposeAsync(ctx, command, func(result kv.Result, err error) { done <- outcome{result, err} })
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return kv.Result{}, ctx.Err() // its cause may say that nothing was changed, which nobody knows here
	}
}

// ProposeAsync is Propose without waiting: done is called exactly once, maybe before ProposeAsync returns,
// and must not block. Commands that one goroutine proposes are applied in its order. A command whose
// context ends before it is proposed is not proposed.
func (m *Member) ProposeAsync(ctx context.Context, command kv.Command, done func(kv.Result, error)) {
	operation, begun := operationOf(&command), m.config.Clock.Now()
	m.submit(ctx, command, false, func(result kv.Result, err error) {
		m.instruments.answered(operation, m.config.Clock.Since(begun), err)
		if result.Response != nil {
			m.completeHeader(result.Response)
		}
		done(result, err)
	})
}

// submit checks and encodes a command and queues it. With here set it is proposed by this member or not
// at all.
func (m *Member) submit(ctx context.Context, command kv.Command, here bool, done func(kv.Result, error)) {
	if command.LeaseGrant != nil && command.LeaseGrant.ID == 0 {
		command.LeaseGrant = proto.CloneOf(command.LeaseGrant)
		command.LeaseGrant.ID = m.machine.Store().ChooseLeaseID()
	}
	if err := command.Validate(); err != nil {
		done(propose.ResultOf(err))
		return
	}
	encoded, err := command.Append(nil)
	if err != nil {
		done(propose.ResultOf(err))
		return
	}
	m.enqueue(ctx, command, encoded, here, done)
}

func (m *Member) enqueue(ctx context.Context, command kv.Command, encoded []byte, here bool, done func(kv.Result, error)) {
	if len(encoded) > m.config.MaxCommandBytes {
		done(kv.Result{}, fmt.Errorf("%w: %d bytes, at most %d are taken", ErrTooLarge, len(encoded), m.config.MaxCommandBytes))
		return
	}
	if err := m.admit(&command, len(encoded)); err != nil {
		done(propose.ResultOf(err))
		return
	}
	m.proposer.Propose(&propose.Proposal{
		Context: ctx, Command: command, Encoded: encoded, Here: here, Done: done,
		Expires: m.config.Clock.Now().Add(m.config.RequestTimeout),
	})
}

// apply proposes a command and returns its response.
func apply[R proto.Message](ctx context.Context, m *Member, command kv.Command) (R, error) {
	var none R
	result, err := m.Propose(ctx, command)
	if err := firstError(err, result.Err); err != nil {
		return none, err
	}
	return result.Response.(R), nil
}

// Put stores a value.
func (m *Member) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	return apply[*pb.PutResponse](ctx, m, kv.Command{Put: r})
}

// DeleteRange deletes keys.
func (m *Member) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	return apply[*pb.DeleteRangeResponse](ctx, m, kv.Command{DeleteRange: r})
}

// Txn runs a transaction. One that only reads is answered from this member's own state, linearizably.
func (m *Member) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if !kv.IsReadOnly(r) {
		return apply[*pb.TxnResponse](ctx, m, kv.Command{Txn: r})
	}
	begun := m.config.Clock.Now()
	response, err := m.readTxn(ctx, r)
	took := m.config.Clock.Since(begun)
	m.instruments.answered(opReadTxn, took, err)
	m.machine.LogSlowRead("read-only txn ", took, pb.NewLoggableTxnRequest(r), response, err)
	return response, err
}

func (m *Member) readTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := (&kv.Command{Txn: r}).Validate(); err != nil {
		return nil, err
	}
	if !kv.IsSerializable(r) {
		if err := m.LinearizableRead(ctx); err != nil {
			return nil, err
		}
	}
	return read(ctx, m, func(store *kv.Store) (*pb.TxnResponse, error) {
		if err := store.Readable(); err != nil {
			return nil, err
		}
		return store.ReadTxn(ctx, r)
	})
}

// Compact forgets history before a revision.
func (m *Member) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	response, err := apply[*pb.CompactionResponse](ctx, m, kv.Command{Compact: r})
	if err != nil || !r.Physical {
		return response, err
	}
	return response, m.machine.WithStore(func(store *kv.Store) error { return store.WaitCompacted(ctx, r.Revision) })
}

// Range reads keys: linearizably, or if the request is serializable, from this member's state as it is. The request must not be
// changed any more, not even when ctx has ended.
func (m *Member) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	begun := m.config.Clock.Now()
	response, err := m.readRange(ctx, r)
	took := m.config.Clock.Since(begun)
	m.instruments.answered(opRange, took, err)
	m.machine.LogSlowRead("read-only range ", took, r, response, err)
	return response, err
}

func (m *Member) readRange(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := kv.ValidateRange(r); err != nil {
		return nil, err
	}
	if !r.Serializable && kv.IsPoint(r) {
		response, err := m.points.Read(ctx, r)
		if err == nil {
			m.completeHeader(response)
		}
		return response, err
	}
	if !r.Serializable {
		if err := m.LinearizableRead(ctx); err != nil {
			return nil, err
		}
	}
	return read(ctx, m, func(store *kv.Store) (*pb.RangeResponse, error) {
		if err := store.Readable(); err != nil {
			return nil, err
		}
		begun := m.config.Clock.Now()
		response, err := store.Range(ctx, r)
		m.instruments.scanned(m.config.Clock.Since(begun), err)
		return response, err
	})
}

// reach returns once this member's own state has what is at an index, and everything that it has answered.
func (m *Member) reach(ctx context.Context, index uint64) error {
	if err := m.machine.WaitApplied(ctx, index); err != nil {
		return err
	}
	return m.show(ctx)
}

// lookUp answers reads of single keys from the present store.
func (m *Member) lookUp(points []*kv.Point) error {
	return m.machine.WithStore(func(store *kv.Store) error {
		if err := store.Readable(); err != nil {
			return err
		}
		begun := m.config.Clock.Now()
		err := store.Points(points)
		each := m.config.Clock.Since(begun) / time.Duration(len(points))
		for range points {
			m.instruments.scanned(each, err)
		}
		return err
	})
}

// read asks the present store, which has everything that this member has answered.
func read[R proto.Message](ctx context.Context, m *Member, ask func(*kv.Store) (R, error)) (response R, err error) {
	if err := m.show(ctx); err != nil {
		return response, err
	}
	err = m.machine.WithStore(func(store *kv.Store) (err error) {
		response, err = ask(store)
		return err
	})
	if err == nil {
		m.completeHeader(response)
	}
	return response, err
}

// atLeader asks whoever leads something, for as long as a command would wait, and again while an error says that it may be
// asked again (see failure.Retryable). Of a change that may have been made, ask returns ErrOutcomeUnknown: no error that it gets of
// the context, which ends when the wait is over, and none of a step after the first.
func (m *Member) atLeader(ctx context.Context, ask func(context.Context, propose.Route) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.config.RequestTimeout, ErrNoLeader)
	defer cancel()
	for {
		changed := m.changed.Next()
		if now := m.route(); now.Leader != "" {
			err := ask(ctx, now)
			if err == nil || !failure.Retryable(err) {
				return err
			}
		}
		select {
		case <-changed:
		case <-time.After(propose.RetryPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-m.life.Done():
			return ErrClosed
		}
	}
}
