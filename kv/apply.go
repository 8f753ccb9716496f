package kv

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// Entry is one Raft log entry: the commands of a group commit in their order.
type Entry struct {
	Index, Term uint64
	Commands    []Command
	// Rules is the version of the checks by which its commands are taken or refused.
	Rules Rules
}

// Result is the outcome of one command: a response or an error.
type Result struct {
	// Response is the etcd response message for the command. Its header has the revision, and nothing else.
	Response proto.Message
	// Err is nil or an ErrorCode.
	Err error
	// Index is that of the entry, where the owner of the store fills it in.
	Index uint64
}

// Apply applies entries in their order, in one batch, and returns the results of their commands. An entry
// at or below AppliedIndex is skipped: its results are nil. Results and contents depend on nothing but the
// entries applied so far.
//
// An error is a failure of the disk, or an entry of rules that this release doesn't know. None of the entries is then visible,
// and the store can't be used for anything but Close: the owner has to stop this member.
func (s *Store) Apply(entries []Entry) ([][]Result, error) {
	s.apply.Lock()
	defer s.apply.Unlock()
	if s.apply.failed != nil {
		return nil, s.apply.failed
	}
	if s.gone {
		return nil, ErrClosed
	}
	for i := range entries {
		if err := s.knows(&entries[i]); err != nil {
			s.apply.failed = err
			return nil, err
		}
	}
	w := newWriter(s)
	results, err := w.entries(entries)
	if err == nil {
		err = w.commit()
	}
	w.close()
	if err != nil {
		s.apply.failed = fmt.Errorf("kv: the store in %s can't be written, stop this member and look at its disk: %w", s.options.Dir, err)
		return nil, s.apply.failed
	}
	return results, nil
}

func (w *writer) entries(entries []Entry) ([][]Result, error) {
	results := make([][]Result, len(entries))
	if err := w.prefetch(entries); err != nil {
		return nil, err
	}
	for i := range entries {
		e := &entries[i]
		if e.Index <= w.state.Applied {
			continue
		}
		w.entry = e.Index
		results[i] = make([]Result, len(e.Commands))
		for j := range e.Commands {
			r, err := w.command(&e.Commands[j], e.Rules)
			if err != nil {
				return nil, err
			}
			results[i][j] = r
			if tell := w.store.options.OnCommand; tell != nil {
				tell(&e.Commands[j], r)
			}
		}
		w.state.Applied, w.state.Term = e.Index, e.Term
		w.state.Rules = max(w.state.Rules, uint32(e.Rules))
	}
	return results, nil
}

// command carries one command out. The error is a failure of the disk.
func (w *writer) command(c *Command, rules Rules) (Result, error) {
	// Who proposed it has validated it; a member of another version may have done so by other rules.
	if err := c.check(rules); err != nil {
		return refusal(err)
	}
	if err := w.refused(c); err != nil {
		return refusal(err)
	}
	if c.Caller != nil && w.auth.enabled {
		if err := w.authorize(c); err != nil {
			return refusal(err)
		}
	}
	m, err := w.execute(c)
	if c.Alarm != nil || c.Member != nil {
		if err := w.updateRestriction(); err != nil {
			return Result{}, err
		}
	}
	w.endRevision()
	if err != nil {
		return refusal(err)
	}
	return Result{Response: m}, nil
}

// refusal makes a result of an ErrorCode, and passes any other error on.
func refusal(err error) (Result, error) {
	var code ErrorCode
	if errors.As(err, &code) {
		return Result{Err: code}, nil
	}
	return Result{}, err
}

func (w *writer) execute(c *Command) (proto.Message, error) {
	switch {
	case c.Put != nil:
		return result(w.put(c.Put))
	case c.DeleteRange != nil:
		return result(w.deleteRange(c.DeleteRange))
	case c.Txn != nil:
		return result(w.txn(c.Txn))
	case c.Compact != nil:
		return result(w.compact(c.Compact))
	case c.LeaseGrant != nil:
		return result(w.grant(c.LeaseGrant))
	case c.LeaseRevoke != nil:
		return result(w.revoke(c.LeaseRevoke))
	case c.LeaseCheckpoint != nil:
		return result(w.checkpointLeases(c.LeaseCheckpoint))
	case c.Alarm != nil:
		return result(w.alarm(c.Alarm))
	case c.Auth != nil:
		return w.changeAuth(c.Auth)
	case c.Downgrade != nil:
		return result(w.announceDowngrade(c.Downgrade))
	}
	return result(w.updateMember(c.Member))
}

// result keeps a nil message from becoming a non-nil interface.
func result[M proto.Message](m M, err error) (proto.Message, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}

func header64(revision int64) *pb.ResponseHeader { return &pb.ResponseHeader{Revision: revision} }

// commit writes the batch and makes it visible, then tells those who wait for it.
func (w *writer) commit() error {
	s := w.store
	if w.state == *s.current.Load() {
		return nil // all entries were skipped
	}
	if err := w.versions.write(w.batch); err != nil {
		return err
	}
	if err := w.writeHistory(); err != nil {
		return err
	}
	if err := w.batch.Set(layout.StateKey, w.state.Encode(), nil); err != nil {
		return err
	}
	settleAuth := s.auth.change(w.auth)
	if err := s.db.Apply(w.batch, pebble.NoSync); err != nil {
		settleAuth(false)
		return err
	}
	published := w.state
	compacted := published.Compact > s.current.Load().Compact
	s.current.Store(&published)
	settleAuth(true)
	s.hub.publish(w.revisions)
	s.counters.add(w.counted)
	s.tokens.commit(w.assigned, w.forgetTokens)
	s.leases.commit(w.leaseChanges)
	s.members.commit(w.memberChanges)
	s.alarms.commit(w)
	s.downgrade.commit(w.downgrade)
	s.progress.advance(published.Applied)
	if compacted {
		s.compact.wake()
	}
	s.apply.headers.Rotate(published.Applied)
	return nil
}
