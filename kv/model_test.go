package kv

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// model is etcd's semantics written down as plainly as possible: the whole contents of every revision, in
// memory. It shares no code with the store.
type model struct {
	contents []map[string]*mvccpb.KeyValue // by revision; 0 and 1 are empty
	events   []*mvccpb.Event
	compact  int64
	leases   map[int64]int64

	// The transaction that is being carried out.
	now     map[string]*mvccpb.KeyValue
	changes []*mvccpb.Event
}

func newModel() *model {
	empty := map[string]*mvccpb.KeyValue{}
	return &model{contents: []map[string]*mvccpb.KeyValue{empty, empty}, leases: map[int64]int64{}}
}

func (m *model) rev() int64 { return int64(len(m.contents) - 1) }

func (m *model) readRev() int64 {
	if len(m.changes) > 0 {
		return m.rev() + 1
	}
	return m.rev()
}

func (m *model) header() *pb.ResponseHeader { return &pb.ResponseHeader{Revision: m.readRev()} }

// apply carries a valid command out.
func (m *model) apply(c Command) (proto.Message, error) {
	m.now, m.changes = maps.Clone(m.contents[m.rev()]), nil
	resp, err := m.run(c)
	if err == nil && len(m.changes) > 0 {
		m.contents = append(m.contents, m.now)
		m.events = append(m.events, m.changes...)
	}
	m.changes = nil
	return resp, err
}

func (m *model) run(c Command) (proto.Message, error) {
	switch {
	case c.Put != nil:
		if err := m.checkPut(c.Put); err != nil {
			return nil, err
		}
		return m.put(c.Put), nil
	case c.DeleteRange != nil:
		return m.deleteRange(c.DeleteRange), nil
	case c.Txn != nil:
		path := m.choose(c.Txn)
		if err := m.checkTxn(c.Txn, path); err != nil {
			return nil, err
		}
		resp := m.txn(c.Txn, path)
		resp.Header = m.header()
		return resp, nil
	case c.Compact != nil:
		if c.Compact.Revision <= m.compact {
			return nil, ErrCompacted
		}
		if c.Compact.Revision > m.rev() {
			return nil, ErrFutureRevision
		}
		m.compact = c.Compact.Revision
		return &pb.CompactionResponse{Header: m.header()}, nil
	case c.LeaseGrant != nil:
		g := c.LeaseGrant
		if m.leases[g.ID] != 0 {
			return nil, ErrLeaseExists
		}
		m.leases[g.ID] = max(g.TTL, 2)
		return &pb.LeaseGrantResponse{Header: m.header(), ID: g.ID, TTL: m.leases[g.ID]}, nil
	}
	id := c.LeaseRevoke.ID
	if m.leases[id] == 0 {
		return nil, ErrLeaseNotFound
	}
	for _, key := range slices.Sorted(maps.Keys(m.now)) {
		if m.now[key].Lease == id {
			m.delete(key)
		}
	}
	delete(m.leases, id)
	return &pb.LeaseRevokeResponse{Header: m.header()}, nil
}

func (m *model) checkPut(p *pb.PutRequest) error {
	if p.Lease != 0 && m.leases[p.Lease] == 0 {
		return ErrLeaseNotFound
	}
	if (p.IgnoreLease || p.IgnoreValue) && m.now[string(p.Key)] == nil {
		return ErrKeyNotFound
	}
	return nil
}

func (m *model) put(p *pb.PutRequest) *pb.PutResponse {
	rev := m.rev() + 1
	old := m.now[string(p.Key)]
	kv := &mvccpb.KeyValue{Key: p.Key, Value: p.Value, Lease: p.Lease, CreateRevision: rev, ModRevision: rev, Version: 1}
	resp := &pb.PutResponse{}
	if old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
		if p.IgnoreValue {
			kv.Value = old.Value
		}
		if p.IgnoreLease {
			kv.Lease = old.Lease
		}
		if p.PrevKv {
			resp.PrevKv = old
		}
	}
	m.now[string(p.Key)] = kv
	m.changes = append(m.changes, &mvccpb.Event{Kv: kv, PrevKv: old})
	resp.Header = m.header()
	return resp
}

func (m *model) delete(key string) {
	m.changes = append(m.changes, &mvccpb.Event{
		Type: mvccpb.Event_DELETE, PrevKv: m.now[key],
		Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: m.rev() + 1},
	})
	delete(m.now, key)
}

func (m *model) deleteRange(d *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	resp := &pb.DeleteRangeResponse{}
	for _, kv := range modelRange(m.now, d.Key, d.RangeEnd) {
		resp.Deleted++
		if d.PrevKv {
			resp.PrevKvs = append(resp.PrevKvs, kv)
		}
		m.delete(string(kv.Key))
	}
	resp.Header = m.header()
	return resp
}

// choose evaluates all compares first: the path lists the outcome of each transaction on the way.
func (m *model) choose(t *pb.TxnRequest) []bool {
	ok, ops := true, t.Success
	for _, c := range t.Compare {
		if !m.holds(c) {
			ok, ops = false, t.Failure
		}
	}
	path := []bool{ok}
	for _, op := range ops {
		if n := op.GetRequestTxn(); n != nil {
			path = append(path, m.choose(n)...)
		}
	}
	return path
}

func (m *model) holds(c *pb.Compare) bool {
	all := modelRange(m.now, c.Key, c.RangeEnd)
	if len(all) == 0 {
		if c.Target == pb.Compare_VALUE {
			return false
		}
		all = []*mvccpb.KeyValue{{}}
	}
	for _, kv := range all {
		var order int
		switch c.Target {
		case pb.Compare_VALUE:
			order = bytes.Compare(kv.Value, c.GetValue())
		case pb.Compare_VERSION:
			order = cmp.Compare(kv.Version, c.GetVersion())
		case pb.Compare_CREATE:
			order = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
		case pb.Compare_MOD:
			order = cmp.Compare(kv.ModRevision, c.GetModRevision())
		case pb.Compare_LEASE:
			order = cmp.Compare(kv.Lease, c.GetLease())
		}
		want := map[pb.Compare_CompareResult]bool{
			pb.Compare_EQUAL: order == 0, pb.Compare_NOT_EQUAL: order != 0,
			pb.Compare_LESS: order < 0, pb.Compare_GREATER: order > 0,
		}
		if !want[c.Result] {
			return false
		}
	}
	return true
}

func (m *model) branch(t *pb.TxnRequest, path *[]bool) ([]*pb.RequestOp, bool) {
	ok := (*path)[0]
	*path = (*path)[1:]
	if ok {
		return t.Success, true
	}
	return t.Failure, false
}

func (m *model) checkTxn(t *pb.TxnRequest, path []bool) error { return m.checkOps(t, &path) }

func (m *model) checkOps(t *pb.TxnRequest, path *[]bool) error {
	ops, _ := m.branch(t, path)
	for _, op := range ops {
		var err error
		switch {
		case op.GetRequestPut() != nil:
			err = m.checkPut(op.GetRequestPut())
		case op.GetRequestRange() != nil:
			_, err = m.rangeAt(m.rev(), m.now, op.GetRequestRange())
		case op.GetRequestTxn() != nil:
			err = m.checkOps(op.GetRequestTxn(), path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *model) txn(t *pb.TxnRequest, path []bool) *pb.TxnResponse { return m.txnOps(t, &path) }

func (m *model) txnOps(t *pb.TxnRequest, path *[]bool) *pb.TxnResponse {
	ops, ok := m.branch(t, path)
	resp := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: ok}
	for _, op := range ops {
		var r *pb.ResponseOp
		switch {
		case op.GetRequestPut() != nil:
			r = &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: m.put(op.GetRequestPut())}}
		case op.GetRequestDeleteRange() != nil:
			r = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: m.deleteRange(op.GetRequestDeleteRange())}}
		case op.GetRequestRange() != nil:
			rr, err := m.rangeAt(m.readRev(), m.now, op.GetRequestRange())
			if err != nil {
				panic(err)
			}
			r = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: rr}}
		default:
			r = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: m.txnOps(op.GetRequestTxn(), path)}}
		}
		resp.Responses = append(resp.Responses, r)
	}
	return resp
}

func (m *model) rangeNow(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	return m.rangeAt(m.rev(), m.contents[m.rev()], r)
}

// rangeAt answers r where current is the revision of now.
func (m *model) rangeAt(current int64, now map[string]*mvccpb.KeyValue, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if r.Revision > current {
		return nil, ErrFutureRevision
	}
	at := now
	if r.Revision > 0 {
		if r.Revision < m.compact {
			return nil, ErrCompacted
		}
		if r.Revision < current {
			at = m.contents[r.Revision]
		}
	}
	all := modelRange(at, r.Key, r.RangeEnd)
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: current}, Count: int64(len(all))}
	if r.CountOnly {
		return resp, nil
	}
	all = slices.DeleteFunc(all, func(kv *mvccpb.KeyValue) bool {
		return r.MinModRevision != 0 && kv.ModRevision < r.MinModRevision ||
			r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision ||
			r.MinCreateRevision != 0 && kv.CreateRevision < r.MinCreateRevision ||
			r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision
	})
	sign := 1
	if r.SortOrder == pb.RangeRequest_DESCEND {
		sign = -1
	}
	slices.SortStableFunc(all, func(a, b *mvccpb.KeyValue) int {
		return sign * map[pb.RangeRequest_SortTarget]int{
			pb.RangeRequest_KEY:     bytes.Compare(a.Key, b.Key),
			pb.RangeRequest_VERSION: cmp.Compare(a.Version, b.Version),
			pb.RangeRequest_CREATE:  cmp.Compare(a.CreateRevision, b.CreateRevision),
			pb.RangeRequest_MOD:     cmp.Compare(a.ModRevision, b.ModRevision),
			pb.RangeRequest_VALUE:   bytes.Compare(a.Value, b.Value),
		}[r.SortTarget]
	})
	if r.Limit > 0 && int64(len(all)) > r.Limit {
		all, resp.More = all[:r.Limit], true
	}
	for _, kv := range all {
		kv = proto.CloneOf(kv)
		if r.KeysOnly {
			kv.Value = nil
		}
		resp.Kvs = append(resp.Kvs, kv)
	}
	return resp, nil
}

// modelRange returns the key values of a range in the order of their keys.
func modelRange(contents map[string]*mvccpb.KeyValue, key, end []byte) []*mvccpb.KeyValue {
	var all []*mvccpb.KeyValue
	for _, k := range slices.Sorted(maps.Keys(contents)) {
		if modelContains(key, end, k) {
			all = append(all, contents[k])
		}
	}
	return all
}

func modelContains(key, end []byte, k string) bool {
	if len(end) == 0 {
		return k == string(key)
	}
	return k >= string(key) && (string(end) == "\x00" || k < string(end))
}
