package raftstore

import (
	"context"
	"errors"
	"time"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
)

// HashKV is the checksum of what can be read on this member at a revision; 0: the present one. Errors are those of
// kv.Store.HashKV.
func (m *Member) HashKV(ctx context.Context, revision int64) (kv.Hash, error) {
	if err := m.show(ctx); err != nil {
		return kv.Hash{}, err
	}
	return m.hashKV(func(store *kv.Store) (kv.Hash, error) { return store.HashKV(ctx, revision) })
}

// hashHistory is HashKV with the history, which members compare with each other.
func (m *Member) hashHistory(ctx context.Context, revision int64) (kv.Hash, error) {
	return m.hashKV(func(store *kv.Store) (kv.Hash, error) { return store.HashHistory(ctx, revision) })
}

func (m *Member) hashKV(sum func(*kv.Store) (kv.Hash, error)) (hash kv.Hash, err error) {
	begun := time.Now()
	err = m.machine.WithStore(func(store *kv.Store) (err error) {
		hash, err = sum(store)
		return err
	})
	m.instruments.hashedKV(begun, err)
	return hash, err
}

// Hash is the checksum of all that this member has of the replicated state.
func (m *Member) Hash(ctx context.Context) (hash kv.Hash, err error) {
	if err := m.show(ctx); err != nil {
		return hash, err
	}
	begun := time.Now()
	err = m.machine.WithStore(func(store *kv.Store) (err error) {
		hash, err = store.Hash(ctx)
		return err
	})
	m.instruments.hashed(begun, err)
	return hash, err
}

// Defragment rewrites this member's database, in the background of everything else, and returns when that is done.
func (m *Member) Defragment(ctx context.Context) error {
	return m.machine.WithStore(func(store *kv.Store) error { return m.defragment(ctx, store) })
}

func (m *Member) defragment(ctx context.Context, store *kv.Store) error {
	done := m.instruments.defragmenting()
	err := store.Defragment(ctx)
	done(err)
	return err
}

// HashKV implements peerpb.PeerServer.
func (s *peerServer) HashKV(ctx context.Context, r *peerpb.HashKVRequest) (*peerpb.HashKVResponse, error) {
	if err := s.member.machine.WaitApplied(ctx, r.AppliedIndex); err != nil {
		return nil, failure.ToStatus(err)
	}
	response := &peerpb.HashKVResponse{Id: s.member.config.Identity.MemberID}
	hash, err := s.member.hashHistory(ctx, r.Revision)
	var code kv.ErrorCode
	switch {
	case errors.As(err, &code):
		response.Error = uint32(code)
	case err != nil:
		return nil, failure.ToStatus(err)
	}
	response.Hash, response.Revision, response.CompactRevision = hash.Sum, hash.Revision, hash.CompactRevision
	return response, nil
}
