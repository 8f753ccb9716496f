package kv

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// memberTable is the member records in memory, removed ones included, as the committed batches made them.
type memberTable struct {
	mu      sync.RWMutex
	records map[uint64]memberRecord
}

// memberRecord is a member, or with removed the memory that its ID was used.
type memberRecord struct {
	member  Member
	removed bool
}

type memberChange struct {
	id     uint64
	record memberRecord
}

const memberPrefix = "member/"

func memberKey(id uint64) []byte {
	return layout.MetaKey(memberPrefix + string(binary.BigEndian.AppendUint64(nil, id)))
}

// encode returns the stored form: an empty one is that of a removed member.
func (r memberRecord) encode() []byte {
	if r.removed {
		return nil
	}
	return r.member.append(nil)
}

func (t *memberTable) load(db pebble.Reader) error {
	t.records = map[uint64]memberRecord{}
	lower, upper := layout.MetaKey(memberPrefix), layout.MetaKey("member0") // '0' follows '/'
	return layout.EachBetween(db, lower, upper, func(k, v []byte) error {
		if len(k) != len(memberKey(0)) {
			return layout.ErrCorruptRecord
		}
		id := binary.BigEndian.Uint64(k[1+len(memberPrefix):])
		if len(v) == 0 {
			t.records[id] = memberRecord{removed: true}
			return nil
		}
		m, err := decodeMember(v)
		t.records[id] = memberRecord{member: m}
		return err
	})
}

func (t *memberTable) get(id uint64) (memberRecord, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := t.records[id]
	return r, ok
}

func (t *memberTable) commit(changes []memberChange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range changes {
		t.records[c.id] = c.record
	}
}

// Members returns the replicated member records in the order of their IDs.
func (s *Store) Members() []Member {
	s.members.mu.RLock()
	defer s.members.mu.RUnlock()
	var all []Member
	for _, r := range s.members.records {
		if !r.removed {
			all = append(all, r.member.clone())
		}
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// MemberRemoved tells whether the member with this ID was removed from the cluster for good.
func (s *Store) MemberRemoved(id uint64) bool {
	r, ok := s.members.get(id)
	return ok && r.removed
}

func (w *writer) memberRecord(id uint64) (memberRecord, bool) {
	for i := len(w.memberChanges) - 1; i >= 0; i-- {
		if c := w.memberChanges[i]; c.id == id {
			return c.record, true
		}
	}
	return w.store.members.get(id)
}

func (w *writer) updateMember(u *MemberUpdate) (*pb.MemberUpdateResponse, error) {
	old, known := w.memberRecord(u.Member.ID)
	switch {
	case known && old.removed:
		return nil, ErrMemberRemoved
	case known && u.Operation == MemberAdd:
		return nil, ErrMemberExists
	case !known && (u.Operation == MemberUpdateExisting || u.Operation == MemberRemove):
		return nil, ErrMemberNotFound
	}
	record := memberRecord{removed: true}
	if u.Operation != MemberRemove {
		record = memberRecord{member: u.Member.clone()}
	}
	if err := w.batch.Set(memberKey(u.Member.ID), record.encode(), nil); err != nil {
		return nil, err
	}
	w.memberChanges = append(w.memberChanges, memberChange{u.Member.ID, record})
	return &pb.MemberUpdateResponse{Header: header64(w.state.Revision)}, nil
}
