package kv

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// leaseTable is the granted leases, in memory: what they were granted, not what is left of it. It is what
// the committed batches made it.
type leaseTable struct {
	mu       sync.RWMutex
	granted  map[int64]int64 // id to time to live in seconds
	observer leaseObserver

	grants, revokes uint64 // since the store was opened
}

// leaseObserver is told of every grant and revocation, in their order. It must not call back.
type leaseObserver interface {
	leaseGranted(id, ttl int64)
	leaseRevoked(id int64)
}

// leaseChange is a grant, or with ttl 0 a revocation.
type leaseChange struct{ id, ttl int64 }

func (t *leaseTable) load(db *pebble.DB) error {
	t.granted = map[int64]int64{}
	return eachMeta(db, sectionLease, func(k, v []byte) error {
		if len(k) != 10 || len(v) != 8 {
			return errCorruptRecord
		}
		t.granted[int64(binary.BigEndian.Uint64(k[1:]))] = int64(binary.BigEndian.Uint64(v))
		return nil
	})
}

// eachMeta calls visit for everything in a section that holds no versions.
func eachMeta(reader pebble.Reader, section byte, visit func(k, v []byte) error) error {
	lower, upper := sectionBounds(section)
	return eachBetween(reader, lower, upper, visit)
}

func eachBetween(reader pebble.Reader, lower, upper []byte, visit func(k, v []byte) error) (err error) {
	it, err := reader.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() {
		if e := it.Close(); err == nil {
			err = e
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := visit(it.Key(), v); err != nil {
			return err
		}
	}
	return it.Error()
}

func (t *leaseTable) commit(changes []leaseChange) {
	if len(changes) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range changes {
		if c.ttl == 0 {
			delete(t.granted, c.id)
			t.revokes++
		} else {
			t.granted[c.id] = c.ttl
			t.grants++
		}
		switch {
		case t.observer == nil:
		case c.ttl == 0:
			t.observer.leaseRevoked(c.id)
		default:
			t.observer.leaseGranted(c.id, c.ttl)
		}
	}
}

// observe makes o hear of all changes after the state that it calls start with; nil ends it.
func (t *leaseTable) observe(o leaseObserver, start func(granted map[int64]int64)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.observer = o
	start(t.granted)
}

func (t *leaseTable) ttl(id int64) (int64, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	ttl, ok := t.granted[id]
	return ttl, ok
}

// ChooseLeaseID returns a random lease ID that no lease has now, for a LeaseGrant that has none.
func (s *Store) ChooseLeaseID() int64 {
	for {
		var b [8]byte
		rand.Read(b[:])
		id := int64(binary.BigEndian.Uint64(b[:]) >> 1)
		if _, taken := s.leases.ttl(id); id != 0 && !taken {
			return id
		}
	}
}

// LeaseTTL returns what a lease was granted, in seconds, and whether there is such a lease.
func (s *Store) LeaseTTL(id int64) (granted int64, ok bool) { return s.leases.ttl(id) }

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
	lower, upper := attachmentBounds(id)
	err := eachBetween(reader, lower, upper, func(k, _ []byte) error {
		keys = append(keys, slices.Clone(decodeAttachmentKey(k)))
		return nil
	})
	return keys, err
}

// leaseExists tells whether a lease is granted, as the command sees it.
func (w *writer) leaseExists(id int64) bool {
	for i := len(w.leaseChanges) - 1; i >= 0; i-- {
		if c := w.leaseChanges[i]; c.id == id {
			return c.ttl != 0
		}
	}
	_, ok := w.store.leases.ttl(id)
	return ok
}

func (w *writer) grant(g *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	switch {
	case g.ID == 0:
		return nil, ErrLeaseNotFound // etcd's answer to a grant of the lease that stands for none
	case w.leaseExists(g.ID):
		return nil, ErrLeaseExists
	}
	ttl := max(g.TTL, MinLeaseTTL)
	if err := w.batch.Set(leaseKey(g.ID), binary.BigEndian.AppendUint64(nil, uint64(ttl)), nil); err != nil {
		return nil, err
	}
	w.leaseChanges = append(w.leaseChanges, leaseChange{g.ID, ttl})
	return &pb.LeaseGrantResponse{Header: header64(w.state.revision), ID: g.ID, TTL: ttl}, nil
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
	if err := w.batch.Delete(leaseKey(r.ID), nil); err != nil {
		return nil, err
	}
	w.leaseChanges = append(w.leaseChanges, leaseChange{id: r.ID})
	return &pb.LeaseRevokeResponse{Header: header64(w.readRevision())}, nil
}
