// Package registrytest gives tests a registry over a real store without Raft.
package registrytest

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ctlplane/ctlplane/api/immutable"
	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/kv"
)

// Storage is a store of one member, whose writes are applied as they come. It is a registry.Storage.
type Storage struct {
	*kv.Store
	mu    sync.Mutex
	index uint64
}

// NewStorage opens a store in memory that lives as long as the test.
func NewStorage(t testing.TB) *Storage {
	t.Helper()
	store, err := kv.Open(kv.Options{Dir: "store", FS: vfs.NewMem(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Storage{Store: store}
}

// Txn applies a transaction.
func (s *Storage) Txn(_ context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	result, err := s.apply(kv.Command{Txn: r})
	if err != nil {
		return nil, err
	}
	return result.(*pb.TxnResponse), nil
}

// LeaseGrant makes a lease. Nobody counts its time.
func (s *Storage) LeaseGrant(_ context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	r.ID = s.ChooseLeaseID()
	result, err := s.apply(kv.Command{LeaseGrant: r})
	if err != nil {
		return nil, err
	}
	return result.(*pb.LeaseGrantResponse), nil
}

// LeaseRevoke ends a lease, as its time would.
func (s *Storage) LeaseRevoke(id int64) error {
	_, err := s.apply(kv.Command{LeaseRevoke: &pb.LeaseRevokeRequest{ID: id}})
	return err
}

// Put writes a key, as another client of the store would.
func (s *Storage) Put(key, value string) error {
	_, err := s.apply(kv.Command{Put: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}})
	return err
}

// Delete removes a key, as another client of the store would.
func (s *Storage) Delete(key string) error {
	_, err := s.apply(kv.Command{DeleteRange: &pb.DeleteRangeRequest{Key: []byte(key)}})
	return err
}

// Compact drops the history below revision.
func (s *Storage) Compact(revision int64) error {
	_, err := s.apply(kv.Command{Compact: &pb.CompactionRequest{Revision: revision}})
	return err
}

func (s *Storage) apply(command kv.Command) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	results, err := s.Store.Apply([]kv.Entry{{Index: s.index, Term: 1, Commands: []kv.Command{command}}})
	if err != nil {
		return nil, err
	}
	return results[0][0].Response, results[0][0].Err
}

// New runs a bootstrapped registry over storage that lives as long as the test.
func New(t testing.TB, storage registry.Storage, opts registry.Options) *registry.Registry {
	t.Helper()
	r, err := registry.New(storage, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := immutable.Check(); err != nil {
			t.Error(err)
		}
	})
	if err := r.Bootstrap(ctx, nil); err != nil {
		t.Fatal(err)
	}
	return r
}

// Admin is a context of a user that may do all.
func Admin(t testing.TB) context.Context {
	return auth.WithUser(t.Context(), auth.User{Name: "admin", Groups: []string{auth.GroupMasters}})
}
