package differential

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// Few keys, values and leases, so that requests meet; and now and then what is no key, or no lease.
var (
	keys      = rapid.SampledFrom([]string{"b", "a", "c", "ab", "d", "e", "\x00", "\xff", ""})
	rangeEnds = rapid.SampledFrom([]string{"", "c", "\x00", "e", "a", "b", "zz", "\x00\x00"})
	values    = rapid.SampledFrom([]string{"", "1", "2", "3"})
	leaseIDs  = rapid.SampledFrom([]int64{0, 1, 2, 3, -1})
	// Relative to the revision at which a run begins; see revision.
	revisions = rapid.SampledFrom([]int64{0, 1, 2, 3, 5, 8, -1, 100})
)

// generator makes requests that refer to revisions after base.
type generator struct {
	*rapid.T
	base int64
}

func (g generator) request() proto.Message {
	return rapid.Custom(func(t *rapid.T) proto.Message {
		g := generator{t, g.base}
		return pick(g, 30, g.anyPut, 10, g.anyDelete, 20, g.anyRange, 25, g.anyTxn, 4, g.compaction, 12, g.anyLease, 1, g.hashKV)
	}).Draw(g.T, "request")
}

// pick calls one of the functions, each with the weight before it.
func pick(g generator, choices ...any) proto.Message {
	var weighted []int
	for i := 0; i < len(choices); i += 2 {
		for range choices[i].(int) {
			weighted = append(weighted, i+1)
		}
	}
	return choices[rapid.SampledFrom(weighted).Draw(g.T, "kind")].(func() proto.Message)()
}

func (g generator) anyPut() proto.Message    { return g.put() }
func (g generator) anyDelete() proto.Message { return g.deletion() }
func (g generator) anyRange() proto.Message  { return g.rangeOf() }

// anyTxn leaves out what crashes etcd: a delete without an end, and after it a put that keeps what was deleted.
func (g generator) anyTxn() proto.Message {
	t := g.txn(2)
	if hasOpenDelete(t) {
		keepNothing(t)
	}
	return t
}

func hasOpenDelete(t *pb.TxnRequest) bool {
	return slices.ContainsFunc(slices.Concat(t.Success, t.Failure), func(op *pb.RequestOp) bool {
		d, nested := op.GetRequestDeleteRange(), op.GetRequestTxn()
		return (d != nil && string(d.RangeEnd) == "\x00") || (nested != nil && hasOpenDelete(nested))
	})
}

func keepNothing(t *pb.TxnRequest) {
	for _, op := range slices.Concat(t.Success, t.Failure) {
		if p := op.GetRequestPut(); p != nil {
			p.IgnoreValue, p.IgnoreLease = false, false
		}
		if nested := op.GetRequestTxn(); nested != nil {
			keepNothing(nested)
		}
	}
}

// hashKV asks for the present, or for the future: of some past revisions etcd still knows the hash, after their compaction.
func (g generator) hashKV() proto.Message {
	return &pb.HashKVRequest{Revision: rapid.SampledFrom([]int64{0, g.base + 1000}).Draw(g.T, "revision")}
}

func (g generator) compaction() proto.Message {
	return &pb.CompactionRequest{Revision: g.revision("revision"), Physical: g.seldom("physical")}
}

func (g generator) key() []byte { return []byte(keys.Draw(g.T, "key")) }
func (g generator) end() []byte { return []byte(rangeEnds.Draw(g.T, "end")) }

// seldom is mostly false, and shrinks to that.
func (g generator) seldom(label string) bool {
	return rapid.SampledFrom([]bool{false, false, false, true}).Draw(g.T, label)
}

// revision is mostly one of this run, or 0, which asks for the current one.
func (g generator) revision(label string) int64 {
	switch r := revisions.Draw(g.T, label); r {
	case 0:
		return 0
	case -1:
		return g.base - 1
	default:
		return g.base + r - 1
	}
}

func (g generator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: []byte(values.Draw(g.T, "value")), PrevKv: g.seldom("prev")}
	if g.seldom("leased") {
		r.Lease = leaseIDs.Draw(g.T, "lease")
	}
	r.IgnoreValue, r.IgnoreLease = g.seldom("ignore value"), g.seldom("ignore lease")
	if r.IgnoreValue && !g.seldom("value as well") {
		r.Value = nil
	}
	return r
}

func (g generator) deletion() *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: g.key(), RangeEnd: g.end(), PrevKv: g.seldom("prev")}
}

func (g generator) rangeOf() *pb.RangeRequest {
	r := &pb.RangeRequest{Key: g.key(), RangeEnd: g.end(), Serializable: g.seldom("serializable")}
	if g.seldom("historic") {
		r.Revision = g.revision("revision")
	}
	if g.seldom("limited") {
		r.Limit = rapid.SampledFrom([]int64{1, 2, 3, 100, -1}).Draw(g.T, "limit")
	}
	if g.seldom("sorted") {
		r.SortOrder = pb.RangeRequest_SortOrder(rapid.Int32Range(0, 3).Draw(g.T, "order"))
		r.SortTarget = pb.RangeRequest_SortTarget(rapid.Int32Range(0, 5).Draw(g.T, "target"))
	}
	if g.seldom("filtered") {
		r.MinModRevision, r.MaxModRevision = g.revision("min mod"), g.revision("max mod")
		r.MinCreateRevision, r.MaxCreateRevision = g.revision("min create"), g.revision("max create")
	}
	r.KeysOnly, r.CountOnly = g.seldom("keys only"), g.seldom("count only")
	return r
}

// txn nests transactions to depth.
func (g generator) txn(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range rapid.IntRange(0, 2).Draw(g.T, "compares") {
		t.Compare = append(t.Compare, g.compare())
	}
	for range rapid.IntRange(0, 4).Draw(g.T, "then") {
		t.Success = append(t.Success, g.op(depth))
	}
	for range rapid.IntRange(0, 2).Draw(g.T, "else") {
		t.Failure = append(t.Failure, g.op(depth))
	}
	return t
}

func (g generator) op(depth int) *pb.RequestOp {
	kinds := []string{"put", "put", "put", "delete", "range", "range"}
	if depth > 0 {
		kinds = append(kinds, "txn", "txn")
	}
	switch rapid.SampledFrom(append(kinds, "none")[:len(kinds)+g.bit()]).Draw(g.T, "op") {
	case "put":
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: g.put()}}
	case "delete":
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: g.deletion()}}
	case "range":
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: g.rangeOf()}}
	case "txn":
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.txn(depth - 1)}}
	}
	return &pb.RequestOp{}
}

// bit is 1 one time in thirty.
func (g generator) bit() int {
	if rapid.IntRange(0, 29).Draw(g.T, "malformed") == 29 {
		return 1
	}
	return 0
}

func (g generator) compare() *pb.Compare {
	c := &pb.Compare{
		Key:    g.key(),
		Result: pb.Compare_CompareResult(rapid.Int32Range(0, 3).Draw(g.T, "result")),
		Target: pb.Compare_CompareTarget(rapid.Int32Range(0, 4).Draw(g.T, "target")),
	}
	if g.seldom("over a range") {
		c.RangeEnd = g.end()
	}
	union := c.Target
	if g.bit() == 1 { // one that does not fit the target
		union = pb.Compare_CompareTarget(rapid.Int32Range(0, 4).Draw(g.T, "union"))
	}
	switch union {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: rapid.Int64Range(0, 3).Draw(g.T, "version")}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.revision("create")}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.revision("mod")}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: []byte(values.Draw(g.T, "value"))}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: leaseIDs.Draw(g.T, "lease")}
	}
	return c
}

func (g generator) anyLease() proto.Message {
	id := leaseIDs.Draw(g.T, "lease")
	switch rapid.SampledFrom([]string{"grant", "grant", "revoke", "ttl", "list", "keep alive"}).Draw(g.T, "lease request") {
	case "grant":
		if id == 0 {
			id = 1 // the server would choose one
		}
		return &pb.LeaseGrantRequest{ID: id, TTL: rapid.SampledFrom([]int64{1000, 2000, 9_000_000_000, 9_000_000_001}).Draw(g.T, "ttl")}
	case "revoke":
		return &pb.LeaseRevokeRequest{ID: id}
	case "ttl":
		return &pb.LeaseTimeToLiveRequest{ID: id, Keys: g.seldom("keys")}
	case "keep alive":
		return &pb.LeaseKeepAliveRequest{ID: id}
	}
	return &pb.LeaseLeasesRequest{}
}

// watch is a watch of what a run does: from its beginning on, or from a revision of it.
func (g generator) watch(start int64) *pb.WatchCreateRequest {
	w := &pb.WatchCreateRequest{Key: g.key(), RangeEnd: g.end(), StartRevision: start, PrevKv: g.seldom("prev")}
	for _, filter := range []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE} {
		if g.seldom(filter.String()) {
			w.Filters = append(w.Filters, filter)
		}
	}
	return w
}
