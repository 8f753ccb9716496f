package kv

import (
	"errors"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

var downgradeKey = layout.MetaKey("downgrade")

// downgradeTarget is the version that the operators have announced to go back to, as the committed batches made it; nil or
// empty is none.
type downgradeTarget struct{ version atomic.Pointer[string] }

func (d *downgradeTarget) load(db pebble.Reader) error {
	b, closer, err := db.Get(downgradeKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closer.Close()
	d.commit(ptr(string(b)))
	return nil
}

func (d *downgradeTarget) commit(version *string) {
	if version != nil {
		d.version.Store(version)
	}
}

func (d *downgradeTarget) get() string {
	if v := d.version.Load(); v != nil {
		return *v
	}
	return ""
}

func ptr[T any](v T) *T { return &v }

// DowngradeTarget is the version that a downgrade was announced to; empty if none was.
func (s *Store) DowngradeTarget() string { return s.downgrade.get() }

// announceDowngrade notes or forgets a downgrade. Whether its version makes sense is for the proposer to know.
func (w *writer) announceDowngrade(r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	present := w.store.downgrade.get()
	if w.downgrade != nil {
		present = *w.downgrade
	}
	version := ""
	switch {
	case r.Action == pb.DowngradeRequest_ENABLE && present != "":
		return nil, ErrDowngradeInProcess
	case r.Action == pb.DowngradeRequest_ENABLE:
		version = r.Version
	case present == "":
		return nil, ErrNoDowngrade
	}
	if err := w.batch.Set(downgradeKey, []byte(version), nil); err != nil {
		return nil, err
	}
	w.downgrade = &version
	return &pb.DowngradeResponse{Header: header64(w.state.Revision)}, nil
}

func validateDowngrade(r *pb.DowngradeRequest) error {
	switch r.Action {
	case pb.DowngradeRequest_ENABLE:
		if r.Version == "" {
			return ErrInvalidCommand
		}
		return nil
	case pb.DowngradeRequest_CANCEL:
		return nil
	}
	return ErrInvalidCommand
}
