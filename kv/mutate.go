package kv

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// putAnswer is a response and its header in one allocation.
type putAnswer struct {
	response pb.PutResponse
	header   pb.ResponseHeader
}

// put carries a put out, alone or within a transaction. An error that is an ErrorCode has changed nothing.
func (w *writer) put(p *pb.PutRequest) (*pb.PutResponse, error) {
	old, err := w.checkPut(p)
	if err != nil {
		return nil, err
	}
	value, lease := p.Value, p.Lease
	w.counted.puts++
	a := new(putAnswer)
	a.response.Header = &a.header
	if old.Exists() && (p.PrevKv || p.IgnoreValue) {
		oldValue, err := w.value(p.Key, old)
		if err != nil {
			return nil, err
		}
		if p.IgnoreValue {
			value = oldValue
		}
		if p.PrevKv {
			a.response.PrevKv = old.KeyValue(p.Key, oldValue)
		}
	}
	if p.IgnoreLease {
		lease = old.Lease
	}
	w.counted.putBytes += uint64(len(p.Key) + len(value))
	if err := w.putKey(p.Key, value, lease, old); err != nil {
		return nil, err
	}
	a.header.Revision = w.readRevision()
	return &a.response, nil
}

// checkPut tells whether a put can be carried out, and returns the header of what it replaces.
func (w *writer) checkPut(p *pb.PutRequest) (layout.Header, error) {
	if p.Lease != 0 && !w.leaseExists(p.Lease) {
		return layout.Header{}, ErrLeaseNotFound
	}
	old, err := w.header(p.Key)
	if err != nil {
		return layout.Header{}, err
	}
	if (p.IgnoreValue || p.IgnoreLease) && !old.Exists() {
		return layout.Header{}, ErrKeyNotFound
	}
	return old, nil
}

// deleteRange carries a delete out, alone or within a transaction.
func (w *writer) deleteRange(d *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	all, err := w.existing(newKeyRange(d.Key, d.RangeEnd), d.PrevKv)
	if err != nil {
		return nil, err
	}
	w.counted.deletes++
	resp := &pb.DeleteRangeResponse{Deleted: int64(len(all))}
	for _, f := range all {
		if d.PrevKv {
			resp.PrevKvs = append(resp.PrevKvs, f.header.KeyValue(f.key, f.value))
		}
		if err := w.deleteKey(f.key, f.header); err != nil {
			return nil, err
		}
	}
	resp.Header = header64(w.readRevision())
	return resp, nil
}
