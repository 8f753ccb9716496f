// Package statemachine connects Raft to kv's store: it applies the entries of the log, makes the state durable so that the log can
// be cut, and takes over a state that another member sent.
//
// Raft calls Apply, Snapshot and Restore from one goroutine; everything else may be called by any. Close is for after Raft's end.
package statemachine

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
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/broken"
	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/entry"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/notify"
	"github.com/ctlplane/ctlplane/raftstore/snapshots"
)

// maxApplyBytes bounds what is applied in one batch of the state machine, where many entries are waiting
// (after a restart).
const maxApplyBytes = 8 << 20

// Machine connects Raft to a kv.Store.
//
// Invariants:
//  1. Every entry is applied once: those at or below the store's own applied index are skipped.
//  2. After a failure nothing is applied any more, and life has ended with the failure as its cause.
//  3. The store is replaced only by Restore, by a state that is further on. Who was using the old one gets
//     kv.ErrClosed and takes the new one.
type Machine struct {
	options Options
	slow    slowApplies
	work    disk.Work

	current  atomic.Pointer[kv.Store]
	replaced notify.Signal

	// applied is the term of the last entry applied.
	applied atomic.Uint64

	mu       sync.Mutex
	proposed map[*byte][]kv.Command // by the first byte of their entry: spares the leader decoding

	life context.Context // ends when the machine fails, or is closed
	stop context.CancelCauseFunc
}

// Options are those of a state machine. Store, Snapshots and Logger are required.
type Options struct {
	Store     kv.Options
	Snapshots *snapshots.Store
	Logger    *slog.Logger
	// SlowApply is how long a request may take before the log is told, by the clock that Now is of; 0 or less: as long as it
	// likes.
	SlowApply time.Duration
	Now       func() time.Time
	// OnCommands is told how long commands took, before anybody sees what they did. It must be quick; nil: nobody is told.
	OnCommands func(Timing)
	// OnApply is told how long a group of entries took, and whether that was too long. OnApplied is called after entries were
	// applied, OnReplace when the state is being replaced, and what that returns when it is. Nil: nobody is told.
	OnApply   func(took time.Duration, slow bool)
	OnApplied func()
	OnReplace func() (done func())
}

// Open opens the state, or takes over the one that was received last.
func Open(options Options) (*Machine, error) {
	f := &Machine{
		options:  options,
		slow:     slowApplies{limit: options.SlowApply, logger: options.Logger, now: options.Now, onCommands: options.OnCommands},
		proposed: map[*byte][]kv.Command{},
	}
	f.options.Store.OnCommand = f.slow.carriedOut
	f.life, f.stop = context.WithCancelCause(context.Background())
	newest, err := options.Snapshots.Newest()
	if err != nil {
		return nil, err
	}
	if newest != nil {
		if dir, ok := options.Snapshots.Received(newest.ID); ok {
			// The process ended between receiving the snapshot and taking it over.
			if err := f.takeOver(dir); err != nil {
				return nil, err
			}
		}
	}
	store, err := kv.Open(f.options.Store)
	if err != nil {
		return nil, err
	}
	if newest != nil && store.AppliedIndex() < newest.Index {
		return nil, errors.Join(store.Close(), fmt.Errorf(
			"the data directory is damaged: its state ends at entry %d, and its log begins after entry %d; delete the directory and join again, as a new member",
			store.AppliedIndex(), newest.Index))
	}
	f.current.Store(store)
	return f, nil
}

// Store is the present state, which Restore may close.
func (f *Machine) Store() *kv.Store { return f.current.Load() }

// Term is that of the last entry applied, which tells a leader that it has applied its first.
func (f *Machine) Term() uint64 { return f.applied.Load() }

// Work counts what is being applied.
func (f *Machine) Work() *disk.Work { return &f.work }

// Replaced is closed when the state is replaced next.
func (f *Machine) Replaced() <-chan struct{} { return f.replaced.Next() }

// Done is closed when the machine has failed, or was ended.
func (f *Machine) Done() <-chan struct{} { return f.life.Done() }

// End ends the machine for a cause: nothing is applied any more. Only the first counts.
func (f *Machine) End(cause error) { f.stop(cause) }

// Hold keeps entries from being applied until it is released: a state that hangs, for tests.
func (f *Machine) Hold() (release func()) {
	f.mu.Lock()
	return f.mu.Unlock
}

// LogSlowRead tells the log of a read that took too long: see slowApplies.
func (f *Machine) LogSlowRead(prefix string, took time.Duration, request fmt.Stringer, response proto.Message, err error) {
	f.slow.read(prefix, took, request, response, err)
}

// Expect keeps the decoded commands of an entry that is about to be proposed; Forget drops them.
func (f *Machine) Expect(entry []byte, commands []kv.Command) {
	f.mu.Lock()
	f.proposed[&entry[0]] = commands
	f.mu.Unlock()
}

// Forget implements propose.Machine.
func (f *Machine) Forget(entry []byte) {
	f.mu.Lock()
	delete(f.proposed, &entry[0])
	f.mu.Unlock()
}

// entry is what the store applies for an entry of the log.
func (f *Machine) entry(log *raft.Log) (kv.Entry, error) {
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
func (f *Machine) Apply(log *raft.Log) any { return f.ApplyBatch([]*raft.Log{log})[0] }

// ApplyBatch implements raft.BatchingFSM. The answer to an entry is its commands' []kv.Result, or an error
// after the state machine has failed.
func (f *Machine) ApplyBatch(logs []*raft.Log) []any {
	f.work.Begin(1)
	defer f.work.End(1)
	answers := make([]any, len(logs))
	store := f.current.Load()
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

func (f *Machine) apply(store *kv.Store, logs []*raft.Log, answers []any) {
	if err := f.Err(); err != nil {
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
			f.Fail(fmt.Errorf("entry %d of the Raft log: %w", log.Index, err))
			fill(answers, f.Err())
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
		if slow := f.slow.end(entries, took, err); f.options.OnApply != nil {
			f.options.OnApply(took, slow)
		}
		if err != nil {
			f.Fail(err)
			fill(answers, f.Err())
			return
		}
		skipped := len(logs) - len(entries)
		for i, result := range results {
			answers[skipped+i] = result
		}
	}
	f.applied.Store(logs[len(logs)-1].Term)
	if f.options.OnApplied != nil {
		f.options.OnApplied()
	}
}

func fill(answers []any, err error) {
	for i := range answers {
		answers[i] = err
	}
}

// Fail stops the member for good: it can't apply an entry, which it must not skip, or its log takes no more.
func (f *Machine) Fail(err error) {
	f.stop(fmt.Errorf("this member can't go on: %w", err))
	f.options.Logger.Error("this member can't go on; restart it once the cause is gone", "error", err)
}

// Err is why the machine has ended, nil while it lives.
func (f *Machine) Err() error { return context.Cause(f.life) }

// Close closes the store. Raft must have been shut down.
func (f *Machine) Close() error {
	f.stop(failure.ErrClosed)
	return f.current.Load().Close()
}

// Snapshot implements raft.FSM. It costs nothing: the work is Persist's.
func (f *Machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.Err(); err != nil {
		return nil, err
	}
	return stateSnapshot{f}, nil
}

// stateSnapshot makes the live state durable, so that the log may be cut.
type stateSnapshot struct{ machine *Machine }

// Persist implements raft.FSMSnapshot; it runs beside Apply.
func (s stateSnapshot) Persist(sink raft.SnapshotSink) error {
	store := s.machine.Store()
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

// Checkpoint writes the live state into a directory that does not exist yet.
func (f *Machine) Checkpoint(dir string) error {
	return f.WithStore(func(store *kv.Store) error { return store.Checkpoint(dir) })
}

// Restore implements raft.FSM: it replaces the store by a received snapshot.
func (f *Machine) Restore(source io.ReadCloser) error {
	if wrapped, ok := source.(raft.ReadCloserWrapper); ok {
		source = wrapped.WrappedReadCloser()
	}
	received, ok := source.(*snapshots.Received)
	if !ok {
		return errors.New("only a received snapshot can be restored")
	}
	if f.options.OnReplace != nil {
		defer f.options.OnReplace()()
	}
	f.options.Logger.Info("replacing the state by a snapshot from the leader")
	if err := f.current.Load().Close(); err != nil {
		f.options.Logger.Warn("close the state that is being replaced", "error", err)
	}
	err := f.takeOver(received.Dir)
	if err == nil {
		var store *kv.Store
		if store, err = kv.Open(f.options.Store); err == nil {
			f.current.Store(store)
			f.applied.Store(store.AppliedTerm())
			f.replaced.Notify()
			f.options.Logger.Info("the state was replaced", "applied", store.AppliedIndex())
			return nil
		}
	}
	f.Fail(err)
	return f.Err()
}

// takeOver makes a received snapshot's data the state's directory. It can be cut off at any point and
// started over, for as long as the data has not been moved the snapshot has it.
func (f *Machine) takeOver(dir string) error {
	if err := os.RemoveAll(f.options.Store.Dir); err != nil {
		return err
	}
	return durable.Rename(dir, f.options.Store.Dir)
}

// WithStore calls use with the current store, and again when that was replaced meanwhile. Only for what
// may be done twice.
func (f *Machine) WithStore(use func(*kv.Store) error) error {
	for {
		replaced := f.replaced.Next()
		err := use(f.current.Load())
		if !errors.Is(err, kv.ErrClosed) {
			return err
		}
		select {
		case <-replaced:
		case <-f.life.Done():
			return f.Err()
		}
	}
}

// WaitApplied returns once the entry at index is applied.
func (f *Machine) WaitApplied(ctx context.Context, index uint64) error {
	if f.current.Load().AppliedIndex() >= index {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.life, func() { cancel(f.Err()) })()
	err := f.WithStore(func(store *kv.Store) error { return store.WaitApplied(ctx, index) })
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
