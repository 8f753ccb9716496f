package raftstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/broken"
	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/entry"
	"github.com/ctlplane/ctlplane/raftstore/notify"
	"github.com/ctlplane/ctlplane/raftstore/snapshots"
)

// maxApplyBytes bounds what is applied in one batch of the state machine, where many entries are waiting
// (after a restart).
const maxApplyBytes = 8 << 20

// stateMachine connects Raft to a kv.Store.
//
// Invariants:
//  1. Every entry is applied once: those at or below the store's own applied index are skipped.
//  2. After a failure nothing is applied any more, and life has ended with the failure as its cause.
//  3. The store is replaced only by Restore, by a state that is further on. Who was using the old one gets
//     kv.ErrClosed and takes the new one.
type stateMachine struct {
	options   kv.Options
	snapshots *snapshots.Store
	logger    *slog.Logger
	// instruments are set before the first entry comes; nil: nothing is counted. So is slow, which by itself tells nobody.
	instruments *instruments
	slow        slowApplies
	work        disk.Work

	// applied is called after entries were applied; nil: nobody is told.
	applied func()

	store    atomic.Pointer[kv.Store]
	replaced notify.Signal

	// term is that of the last entry applied, which tells a leader that it has applied its first.
	term atomic.Uint64

	mu       sync.Mutex
	proposed map[*byte][]kv.Command // by the first byte of their entry: spares the leader decoding

	life context.Context // ends when the machine fails, or is closed
	end  context.CancelCauseFunc
}

func openStateMachine(options kv.Options, saved *snapshots.Store, logger *slog.Logger) (*stateMachine, error) {
	f := &stateMachine{
		options: options, snapshots: saved, logger: logger,
		proposed: map[*byte][]kv.Command{},
	}
	f.options.OnCommand = f.slow.carriedOut
	f.life, f.end = context.WithCancelCause(context.Background())
	newest, err := saved.Newest()
	if err != nil {
		return nil, err
	}
	if newest != nil {
		if dir, ok := saved.Received(newest.ID); ok {
			// The process ended between receiving the snapshot and taking it over.
			if err := f.takeOver(dir); err != nil {
				return nil, err
			}
		}
	}
	store, err := kv.Open(f.options)
	if err != nil {
		return nil, err
	}
	if newest != nil && store.AppliedIndex() < newest.Index {
		return nil, errors.Join(store.Close(), fmt.Errorf(
			"the data directory is damaged: its state ends at entry %d, and its log begins after entry %d; delete the directory and join again, as a new member",
			store.AppliedIndex(), newest.Index))
	}
	f.store.Store(store)
	return f, nil
}

// Expect keeps the decoded commands of an entry that is about to be proposed; Forget drops them.
func (f *stateMachine) Expect(entry []byte, commands []kv.Command) {
	f.mu.Lock()
	f.proposed[&entry[0]] = commands
	f.mu.Unlock()
}

// Forget implements propose.Machine.
func (f *stateMachine) Forget(entry []byte) {
	f.mu.Lock()
	delete(f.proposed, &entry[0])
	f.mu.Unlock()
}

// entry is what the store applies for an entry of the log.
func (f *stateMachine) entry(log *raft.Log) (kv.Entry, error) {
	decoded := kv.Entry{Index: log.Index, Term: log.Term}
	if log.Type != raft.LogCommand {
		return decoded, nil // a change of members: only its index counts here
	}
	rules, encoded, err := entry.Split(log.Data)
	if err != nil {
		return kv.Entry{}, err
	}
	decoded.Rules = rules
	f.mu.Lock()
	commands, ok := f.proposed[&log.Data[0]]
	f.mu.Unlock()
	if !ok {
		commands, err = entry.Decode(encoded)
	}
	decoded.Commands = commands
	return decoded, err
}

// Apply implements raft.FSM.
func (f *stateMachine) Apply(log *raft.Log) any { return f.ApplyBatch([]*raft.Log{log})[0] }

// ApplyBatch implements raft.BatchingFSM. The answer to an entry is its commands' []kv.Result, or an error
// after the state machine has failed.
func (f *stateMachine) ApplyBatch(logs []*raft.Log) []any {
	f.work.Begin(1)
	defer f.work.End(1)
	answers := make([]any, len(logs))
	store := f.store.Load()
	for start := 0; start < len(logs); {
		end, bytes := start, 0
		for end < len(logs) && (end == start || bytes+len(logs[end].Data) <= maxApplyBytes) {
			bytes += len(logs[end].Data)
			end++
		}
		f.apply(store, logs[start:end], answers[start:end])
		start = end
	}
	return answers
}

func (f *stateMachine) apply(store *kv.Store, logs []*raft.Log, answers []any) {
	if err := f.err(); err != nil {
		fill(answers, err)
		return
	}
	applied := store.AppliedIndex()
	entries := make([]kv.Entry, 0, len(logs))
	for _, log := range logs {
		if log.Index <= applied {
			continue
		}
		entry, err := f.entry(log)
		if err != nil {
			f.fail(fmt.Errorf("entry %d of the Raft log: %w", log.Index, err))
			fill(answers, f.err())
			return
		}
		if broken.Sometimes(broken.ApplyTwice) {
			entry.Commands = append(entry.Commands[:len(entry.Commands):len(entry.Commands)], entry.Commands...)
		}
		entries = append(entries, entry)
	}
	if len(entries) > 0 {
		f.slow.begin(entries)
		begun := time.Now()
		results, err := store.Apply(entries)
		took := time.Since(begun)
		f.instruments.applied(took, f.slow.end(entries, took, err))
		if err != nil {
			f.fail(err)
			fill(answers, f.err())
			return
		}
		skipped := len(logs) - len(entries)
		for i, result := range results {
			answers[skipped+i] = result
		}
	}
	f.term.Store(logs[len(logs)-1].Term)
	if f.applied != nil {
		f.applied()
	}
}

func fill(answers []any, err error) {
	for i := range answers {
		answers[i] = err
	}
}

// fail stops the state machine for good: what it can't apply it must not skip.
func (f *stateMachine) fail(err error) {
	f.end(fmt.Errorf("this member can't go on: %w", err))
	f.logger.Error("the state machine failed; restart the member once the cause is gone", "error", err)
}

// err is why the machine has ended, nil while it lives.
func (f *stateMachine) err() error { return context.Cause(f.life) }

// close closes the store. Raft must have been shut down.
func (f *stateMachine) close() error {
	f.end(ErrClosed)
	return f.store.Load().Close()
}

// Snapshot implements raft.FSM. It costs nothing: the work is Persist's.
func (f *stateMachine) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return stateSnapshot{f}, nil
}

// stateSnapshot makes the live state durable, so that the log may be cut.
type stateSnapshot struct{ machine *stateMachine }

// Persist implements raft.FSMSnapshot; it runs beside Apply.
func (s stateSnapshot) Persist(sink raft.SnapshotSink) error {
	store := s.machine.store.Load()
	if err := store.Flush(); err != nil {
		return err
	}
	if index, flushed := sink.(*snapshots.Sink).Index(), store.FlushedIndex(); flushed < index {
		return fmt.Errorf("the state is durable up to entry %d only, want %d", flushed, index)
	}
	return nil
}

// Release implements raft.FSMSnapshot.
func (stateSnapshot) Release() {}

// checkpoint writes the live state into a directory that does not exist yet.
func (f *stateMachine) checkpoint(dir string) error {
	return f.withStore(func(store *kv.Store) error { return store.Checkpoint(dir) })
}

// Restore implements raft.FSM: it replaces the store by a received snapshot.
func (f *stateMachine) Restore(source io.ReadCloser) error {
	if wrapped, ok := source.(raft.ReadCloserWrapper); ok {
		source = wrapped.WrappedReadCloser()
	}
	received, ok := source.(*snapshots.Received)
	if !ok {
		return errors.New("only a received snapshot can be restored")
	}
	defer f.instruments.replacingState()()
	f.logger.Info("replacing the state by a snapshot from the leader")
	if err := f.store.Load().Close(); err != nil {
		f.logger.Warn("close the state that is being replaced", "error", err)
	}
	err := f.takeOver(received.Dir)
	if err == nil {
		var store *kv.Store
		if store, err = kv.Open(f.options); err == nil {
			f.store.Store(store)
			f.term.Store(store.AppliedTerm())
			f.replaced.Notify()
			f.logger.Info("the state was replaced", "applied", store.AppliedIndex())
			return nil
		}
	}
	f.fail(err)
	return f.err()
}

// takeOver makes a received snapshot's data the state's directory. It can be cut off at any point and
// started over, for as long as the data has not been moved the snapshot has it.
func (f *stateMachine) takeOver(dir string) error {
	if err := os.RemoveAll(f.options.Dir); err != nil {
		return err
	}
	return durable.Rename(dir, f.options.Dir)
}

// withStore calls use with the current store, and again when that was replaced meanwhile. Only for what
// may be done twice.
func (f *stateMachine) withStore(use func(*kv.Store) error) error {
	for {
		replaced := f.replaced.Next()
		err := use(f.store.Load())
		if !errors.Is(err, kv.ErrClosed) {
			return err
		}
		select {
		case <-replaced:
		case <-f.life.Done():
			return f.err()
		}
	}
}

// waitApplied returns once the entry at index is applied.
func (f *stateMachine) waitApplied(ctx context.Context, index uint64) error {
	if f.store.Load().AppliedIndex() >= index {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.life, func() { cancel(f.err()) })()
	err := f.withStore(func(store *kv.Store) error { return store.WaitApplied(ctx, index) })
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
