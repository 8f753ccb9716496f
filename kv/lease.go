package kv

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// leaseTable is the granted leases, in memory. It is what the committed batches made it.
type leaseTable struct {
	mu       sync.RWMutex
	granted  map[int64]leaseTerm
	observer leaseObserver

	grants, revokes uint64 // since the store was opened
	onGrant         func(ttl int64)
}

// leaseTerm is what is replicated of a lease's time, in seconds: what it was granted, and what was left of it
// at the last checkpoint; 0 is all of it.
type leaseTerm struct{ ttl, remaining int64 }

// left is what a leader that knows nothing else gives the lease.
func (t leaseTerm) left() int64 {
	if t.remaining > 0 {
		return t.remaining
	}
	return t.ttl
}

// encode returns the stored form: most leases have no checkpoint.
func (t leaseTerm) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(t.ttl))
	if t.remaining > 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(t.remaining))
	}
	return b
}

func decodeLeaseTerm(b []byte) (leaseTerm, error) {
	var t leaseTerm
	switch len(b) {
	case 16:
		t.remaining = int64(binary.BigEndian.Uint64(b[8:]))
		fallthrough
	case 8:
		t.ttl = int64(binary.BigEndian.Uint64(b))
	}
	if t.ttl <= 0 || t.remaining < 0 {
		return leaseTerm{}, layout.ErrCorruptRecord
	}
	return t, nil
}

// leaseObserver is told of every grant and revocation, in their order. It must not call back. Checkpoints are
// its owner's own, who needs not be told.
type leaseObserver interface {
	leaseGranted(id, ttl int64)
	leaseRevoked(id int64)
}

// leaseChange is a grant or a checkpoint, or with ttl 0 a revocation.
type leaseChange struct {
	id         int64
	term       leaseTerm
	checkpoint bool
}

func (t *leaseTable) load(db pebble.Reader) error {
	t.granted = map[int64]leaseTerm{}
	return layout.EachMeta(db, layout.SectionLease, func(k, v []byte) error {
		if len(k) != 10 {
			return layout.ErrCorruptRecord
		}
		term, err := decodeLeaseTerm(v)
		t.granted[int64(binary.BigEndian.Uint64(k[1:]))] = term
		return err
	})
}

func (t *leaseTable) commit(changes []leaseChange) {
	if len(changes) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range changes {
		if c.term.ttl == 0 {
			delete(t.granted, c.id)
			t.revokes++
		} else {
			t.granted[c.id] = c.term
			if !c.checkpoint {
				t.grants++
				if t.onGrant != nil {
					t.onGrant(c.term.ttl)
				}
			}
		}
		switch {
		case t.observer == nil || c.checkpoint:
		case c.term.ttl == 0:
			t.observer.leaseRevoked(c.id)
		default:
			t.observer.leaseGranted(c.id, c.term.ttl)
		}
	}
}

// observe makes o hear of all changes after the state that it calls start with; nil ends it.
func (t *leaseTable) observe(o leaseObserver, start func(granted map[int64]leaseTerm)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.observer = o
	start(t.granted)
}

func (t *leaseTable) get(id int64) (leaseTerm, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	term, ok := t.granted[id]
	return term, ok
}

// ChooseLeaseID returns a random lease ID that no lease has now, for a LeaseGrant that has none.
func (s *Store) ChooseLeaseID() int64 {
	for {
		var b [8]byte
		rand.Read(b[:])
		id := int64(binary.BigEndian.Uint64(b[:]) >> 1)
		if _, taken := s.leases.get(id); id != 0 && !taken {
			return id
		}
	}
}

// LeaseTTL returns what a lease was granted, in seconds, and whether there is such a lease.
func (s *Store) LeaseTTL(id int64) (granted int64, ok bool) {
	term, ok := s.leases.get(id)
	return term.ttl, ok
}

// LeaseRemaining returns what was left of a lease at its last checkpoint, in seconds: 0 if there was none
// since it was granted or renewed.
func (s *Store) LeaseRemaining(id int64) int64 {
	term, _ := s.leases.get(id)
	return term.remaining
}

// Leases returns all leases in the order of their IDs.
func (s *Store) Leases() []*pb.LeaseStatus {
	s.leases.mu.RLock()
	ids := make([]int64, 0, len(s.leases.granted))
	for id := range s.leases.granted {
		ids = append(ids, id)
	}
	s.leases.mu.RUnlock()
	slices.Sort(ids)
	all := make([]*pb.LeaseStatus, len(ids))
	for i, id := range ids {
		all[i] = &pb.LeaseStatus{ID: id}
	}
	return all
}

// LeaseKeys returns the keys that hang on a lease, in their order. The error is ErrClosed or a disk
// failure.
func (s *Store) LeaseKeys(id int64) ([][]byte, error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	return leaseKeys(s.db, id)
}

func leaseKeys(reader pebble.Reader, id int64) ([][]byte, error) {
	var keys [][]byte
	err := visitLeaseKeys(reader, id, func(key []byte) error {
		keys = append(keys, slices.Clone(key))
		return nil
	})
	return keys, err
}

// VisitLeaseKeys calls visit for each key that hangs on a lease, in their order, until visit returns an error, which it
// returns. Any other error is ErrClosed or a failure of the disk. visit must not keep the key.
func (s *Store) VisitLeaseKeys(id int64, visit func(key []byte) error) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	return visitLeaseKeys(s.db, id, visit)
}

func visitLeaseKeys(reader pebble.Reader, id int64, visit func(key []byte) error) error {
	lower, upper := layout.AttachmentBounds(id)
	return layout.EachBetween(reader, lower, upper, func(k, _ []byte) error { return visit(layout.DecodeAttachmentKey(k)) })
}

// lease is a lease's term, as the command sees it. The changes of the batch are found by an index: a batch
// may revoke very many.
func (w *writer) lease(id int64) (leaseTerm, bool) {
	if term, ok := w.leaseNow[id]; ok {
		return term, term.ttl != 0
	}
	return w.store.leases.get(id)
}

// leaseExists tells whether a lease is granted, as the command sees it.
func (w *writer) leaseExists(id int64) bool {
	_, ok := w.lease(id)
	return ok
}

// changeLease notes a change for when the batch is committed.
func (w *writer) changeLease(c leaseChange) {
	if w.leaseNow == nil {
		w.leaseNow = map[int64]leaseTerm{}
	}
	w.leaseNow[c.id] = c.term
	w.leaseChanges = append(w.leaseChanges, c)
}

func (w *writer) grant(g *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	switch {
	case g.ID == 0:
		return nil, ErrLeaseNotFound // etcd's answer to a grant of the lease that stands for none
	case w.leaseExists(g.ID):
		return nil, ErrLeaseExists
	}
	ttl := max(g.TTL, MinLeaseTTL)
	term := leaseTerm{ttl: ttl}
	if err := w.batch.Set(layout.LeaseKey(g.ID), term.encode(), nil); err != nil {
		return nil, err
	}
	w.changeLease(leaseChange{id: g.ID, term: term})
	return &pb.LeaseGrantResponse{Header: header64(w.state.Revision), ID: g.ID, TTL: ttl}, nil
}

// revoke deletes a lease and, in one revision and in their order, its keys.
func (w *writer) revoke(r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	if !w.leaseExists(r.ID) {
		return nil, ErrLeaseNotFound
	}
	reader, err := w.reader()
	if err != nil {
		return nil, err
	}
	keys, err := leaseKeys(reader, r.ID)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		h, err := w.header(key)
		if err != nil {
			return nil, err
		}
		if err := w.deleteKey(key, h); err != nil {
			return nil, err
		}
	}
	if err := w.batch.Delete(layout.LeaseKey(r.ID), nil); err != nil {
		return nil, err
	}
	w.changeLease(leaseChange{id: r.ID})
	return &pb.LeaseRevokeResponse{Header: header64(w.readRevision())}, nil
}

// checkpointLeases records what is left of leases; nothing, or all of it, takes a record back. A lease that
// was revoked in the meantime is passed over.
func (w *writer) checkpointLeases(r *pb.LeaseCheckpointRequest) (*pb.LeaseCheckpointResponse, error) {
	for _, c := range r.Checkpoints {
		term, ok := w.lease(c.GetID())
		if !ok {
			continue
		}
		remaining := max(c.GetRemaining_TTL(), 0)
		if remaining >= term.ttl {
			remaining = 0
		}
		if remaining == term.remaining {
			continue
		}
		term.remaining = remaining
		if err := w.batch.Set(layout.LeaseKey(c.ID), term.encode(), nil); err != nil {
			return nil, err
		}
		w.changeLease(leaseChange{id: c.ID, term: term, checkpoint: true})
	}
	return &pb.LeaseCheckpointResponse{Header: header64(w.state.Revision)}, nil
}
