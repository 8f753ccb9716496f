package kv

import (
	"bytes"
	"context"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// ReadTxn answers a transaction for which IsReadOnly holds, from what is applied on this member, all of it
// at one revision. Errors are as those of Range.
func (s *Store) ReadTxn(ctx context.Context, t *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := validateTxn(t); err != nil {
		return nil, err
	}
	if !IsReadOnly(t) {
		return nil, ErrInvalidCommand
	}
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	view := s.db.NewSnapshot()
	defer view.Close()
	// What the view sees has its own state record.
	at, err := layout.ReadState(view)
	if err != nil {
		return nil, err
	}
	v := &readView{ctx: ctx, reader: view, at: at}
	p, err := planTxn(v, t)
	if err != nil {
		return nil, err
	}
	for _, op := range p.ops {
		if err := checkRevision(op.GetRequestRange(), at.Revision, at.Compact); err != nil {
			return nil, err
		}
	}
	resp, err := runPlan(v, p, nil)
	if err != nil {
		return nil, err
	}
	resp.Header.Revision = at.Revision
	return resp, nil
}

// readView is what a read-only transaction reads from.
type readView struct {
	ctx    context.Context
	reader pebble.Reader
	at     layout.State
}

func (v *readView) readRevision() int64 { return v.at.Revision }

func (v *readView) queryRange(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	return executeRange(v.ctx, v.reader, r, v.at.Revision, v.at.Compact)
}

func (v *readView) existing(r keyRange, values bool) ([]found, error) {
	var all []found
	err := each(v.ctx, v.reader, r, v.at.Revision, func(s *scanner) (bool, error) {
		h, value, err := s.record()
		if err != nil {
			return false, err
		}
		f := found{key: bytes.Clone(s.key), header: h}
		if values {
			f.value = bytes.Clone(value)
		}
		all = append(all, f)
		return true, nil
	})
	return all, err
}
