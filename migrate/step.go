package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ctlplane/ctlplane/kv/offline"
	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/raftstore"
)

const (
	// holdPatience bounds how long calls are held before it is certain that the step can be taken.
	holdPatience = 4 * time.Second
	// settlePause is between two looks at an etcd whose revision moves while calls are held.
	settlePause = 20 * time.Millisecond
)

// step is the taking over, from the first held call on.
//
// Invariant: until Complete is called, giving up lets the calls go on to the etcd as if nothing had been; from then on the copy
// is the cluster's data.
type step struct {
	m     *migration
	began time.Time
	end   offline.LiveEnd
	moved Moved
	asked chan<- cutOverAnswer // nil: nobody waits for the outcome
}

// finalError is one after which the copy can't be used any more.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func isFinal(err error) bool { return errors.As(err, &finalError{}) }

// cutOver takes the step, or gives it up with an error. Calls are held where it was taken.
func (m *migration) cutOver(ctx context.Context) (*step, error) {
	s := &step{m: m}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	s.began = time.Now()
	m.front.router.hold()
	patience, cancel := context.WithTimeoutCause(ctx, holdPatience, fmt.Errorf("calls can't be held longer than %s", holdPatience))
	defer cancel()
	err := s.settle(patience)
	if err == nil {
		err = s.complete()
	}
	if err != nil {
		m.front.router.release(nil)
		m.logger.Warn("calls were held, and go on to the old etcd", "held", time.Since(s.began), "error", err)
		return nil, err
	}
	return s, nil
}

// prepare does beforehand what can be done beforehand.
func (s *step) prepare(ctx context.Context) error {
	s.m.report(Status{Phase: Moving})
	if err := peerPortFree(s.m.config.Master); err != nil {
		return err
	}
	auth, err := s.m.source.auth(ctx)
	if err != nil {
		return err
	}
	if auth.revision != s.m.copy.Store().AuthRevision() {
		s.m.logger.Info("users or roles have changed since the snapshot: they are read from a new one")
		if err := s.m.source.snapshot(ctx, s.m.copy.SnapshotFile(), nil); err != nil {
			return err
		}
		if s.end.Auth, err = s.m.copy.Auth(ctx); err != nil {
			return err
		}
	}
	if s.end.Compacted, err = s.m.source.compacted(ctx); err != nil {
		return err
	}
	if err := s.m.copy.Store().Sync(); err != nil {
		return finalError{err}
	}
	return nil
}

// peerPortFree finds out what would keep the member from starting.
func peerPortFree(config master.Config) error {
	listen := raftstore.Listen
	if config.SharePort {
		listen = raftstore.ListenShared
	}
	for _, address := range append([]string{config.PeerAddr}, config.PeerListen...) {
		listener, err := listen(address)
		if err != nil {
			return fmt.Errorf("peer port: %w", err)
		}
		if err := listener.Close(); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until no call is on its way and the copy has all that the etcd has.
func (s *step) settle(ctx context.Context) error {
	if err := s.m.front.router.drained(ctx); err != nil {
		return fmt.Errorf("wait for the calls that are on their way: %w", err)
	}
	for {
		still, err := s.level(ctx)
		if err == nil && still {
			return nil
		}
		if err != nil && !errors.Is(err, errUnsettled) {
			return err
		}
		select {
		case <-time.After(settlePause):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the old etcd's revision went on moving: somebody writes to it directly, or its leases end: %w", context.Cause(ctx)), err)
		}
	}
}

// level takes in what there is, and tells whether the etcd stood still meanwhile.
func (s *step) level(ctx context.Context) (still bool, err error) {
	at, err := s.m.source.count(ctx)
	if err != nil {
		return false, err
	}
	store := s.m.copy.Store()
	for store.Revision() < at.revision {
		select {
		case r := <-s.m.revisions:
			if err := s.m.apply(r); err != nil {
				return false, finalError{err}
			}
		case <-ctx.Done():
			return false, fmt.Errorf("revision %d of %d: %w", store.Revision(), at.revision, context.Cause(ctx))
		}
	}
	if store.Revision() > at.revision {
		return false, nil
	}
	if store.Keys() != at.keys {
		return false, finalError{fmt.Errorf("at revision %d etcd has %d keys, and the copy has %d", at.revision, at.keys, store.Keys())}
	}
	if s.end.Leases, err = s.m.source.leases(ctx, at); err != nil {
		return false, err
	}
	if err := s.sameUsers(ctx); err != nil {
		return false, err
	}
	again, err := s.m.source.position(ctx)
	return again.revision == at.revision && again.member == at.member, err
}

// sameUsers refuses users and roles that have changed since prepare.
func (s *step) sameUsers(ctx context.Context) error {
	want := s.m.copy.Store().AuthRevision()
	if s.end.Auth != nil {
		want = s.end.Auth.AuthRevision
	}
	auth, err := s.m.source.auth(ctx)
	if err == nil && auth.revision != want {
		err = errors.New("users or roles have just been changed: ask again")
	}
	return err
}

// complete makes the copy a member's directory.
func (s *step) complete() error {
	s.moved = Moved{Revision: s.m.copy.Store().Revision(), Keys: s.m.copy.Store().Keys(), Leases: len(s.end.Leases)}
	_, err := s.m.copy.Complete(s.end, raftstore.Migrated{From: s.m.config.From.Endpoints, Revision: s.moved.Revision})
	if err != nil {
		return finalError{err}
	}
	return nil
}

// releaseTo lets the held calls go on to the member.
func (m *migration) releaseTo(s *step, ready master.Ready) {
	to, err := dialMember(ready.Dial)
	if err != nil {
		m.logger.Error("calls that were held are lost", "error", err)
		return
	}
	m.front.member = to
	m.front.router.release(to)
	s.moved.Held = time.Since(s.began)
	m.logger.Info("moved: this is the cluster now. Stop the old etcd once nobody writes to it", "revision", s.moved.Revision, "keys", s.moved.Keys,
		"leases", s.moved.Leases, "held", s.moved.Held)
	if s.asked != nil {
		s.asked <- cutOverAnswer{moved: s.moved}
	}
}
