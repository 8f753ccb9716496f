package kv

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// MaxTxnOps bounds the operations of a transaction: the longest of its compares, success and failure
	// lists, plus that of the transactions nested in it. It is what a cluster can agree on; what clients may ask for
	// is less, as the API server is configured.
	MaxTxnOps = 16384
	// MaxLeaseTTL is the longest time to live of a lease, in seconds.
	MaxLeaseTTL = 9_000_000_000
	// MinLeaseTTL is the shortest time to live of a lease, in seconds; a shorter one is raised to it. A
	// lease has to outlast the election of a new leader.
	MinLeaseTTL = 2
)

// Validate reports what a client got wrong, as far as that can be told without the store's contents. It is
// meant for before a command is proposed; Apply answers an invalid command with the same error.
func (c *Command) Validate() error {
	switch {
	case c.Put != nil:
		return validatePut(c.Put)
	case c.Txn != nil:
		return validateTxn(c.Txn)
	}
	if err := c.one(); err != nil {
		return err
	}
	switch {
	case c.DeleteRange != nil:
		return validateKey(c.DeleteRange.Key)
	case c.LeaseGrant != nil:
		return validateLeaseGrant(c.LeaseGrant)
	case c.Member != nil:
		return c.Member.validate()
	case c.Auth != nil:
		return validateAuth(c.Auth)
	case c.Alarm != nil:
		return validateAlarm(c.Alarm)
	case c.Downgrade != nil:
		return validateDowngrade(c.Downgrade)
	}
	return nil
}

// ValidateRange reports what a client got wrong in a range request.
func ValidateRange(r *pb.RangeRequest) error {
	if err := validateKey(r.Key); err != nil {
		return err
	}
	_, order := pb.RangeRequest_SortOrder_name[int32(r.SortOrder)]
	_, target := pb.RangeRequest_SortTarget_name[int32(r.SortTarget)]
	if !order || !target {
		return ErrInvalidSortOption
	}
	return nil
}

// IsReadOnly tells whether a transaction can only read, whichever branch it takes. As in etcd a nested
// transaction counts as writing.
func IsReadOnly(t *pb.TxnRequest) bool {
	for _, ops := range [...][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range ops {
			if _, ok := op.GetRequest().(*pb.RequestOp_RequestRange); !ok {
				return false
			}
		}
	}
	return true
}

// IsSerializable tells whether a transaction only reads, and all of its reads ask for no more than what the member has.
func IsSerializable(t *pb.TxnRequest) bool {
	for _, ops := range [...][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range ops {
			if r := op.GetRequestRange(); r == nil || !r.Serializable {
				return false
			}
		}
	}
	return true
}

func validateKey(key []byte) error {
	if len(key) == 0 {
		return ErrEmptyKey
	}
	return nil
}

func validatePut(p *pb.PutRequest) error {
	switch {
	case len(p.Key) == 0:
		return ErrEmptyKey
	case p.IgnoreValue && len(p.Value) != 0:
		return ErrValueProvided
	case p.IgnoreLease && p.Lease != 0:
		return ErrLeaseProvided
	}
	return nil
}

func validateLeaseGrant(g *pb.LeaseGrantRequest) error {
	if g.TTL > MaxLeaseTTL {
		return ErrLeaseTTLTooLarge
	}
	return nil
}

func (u *MemberUpdate) validate() error {
	if u.Operation < MemberSet || u.Operation > MemberRemove {
		return fmt.Errorf("%w: member operation %d is not known", ErrInvalidCommand, u.Operation)
	}
	if u.Member.ID == 0 {
		return fmt.Errorf("%w: a member's ID can't be 0", ErrInvalidCommand)
	}
	return nil
}

func validateTxn(t *pb.TxnRequest) error {
	if err := validateTxnOps(t, MaxTxnOps); err != nil {
		return err
	}
	for _, ops := range [...][]*pb.RequestOp{t.Success, t.Failure} {
		if len(ops) < 2 && !hasNested(ops) {
			continue
		}
		if _, err := checkOverlaps(ops); err != nil {
			return err
		}
	}
	return nil
}

func hasNested(ops []*pb.RequestOp) bool {
	for _, op := range ops {
		if op.GetRequestTxn() != nil {
			return true
		}
	}
	return false
}

func validateTxnOps(t *pb.TxnRequest, limit int) error {
	ops := max(len(t.Compare), len(t.Success), len(t.Failure))
	if ops > limit {
		return ErrTooManyOps
	}
	for _, c := range t.Compare {
		if err := validateKey(c.GetKey()); err != nil {
			return err
		}
	}
	for _, branch := range [...][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range branch {
			if err := validateOp(op, limit-ops); err != nil {
				return err
			}
		}
	}
	return nil
}

func validateOp(op *pb.RequestOp, limit int) error {
	switch {
	case op.GetRequestRange() != nil:
		return ValidateRange(op.GetRequestRange())
	case op.GetRequestPut() != nil:
		return validatePut(op.GetRequestPut())
	case op.GetRequestDeleteRange() != nil:
		return validateKey(op.GetRequestDeleteRange().Key)
	case op.GetRequestTxn() != nil:
		return validateTxnOps(op.GetRequestTxn(), limit)
	}
	// etcd's answer to an operation that is none.
	return ErrKeyNotFound
}

// touched is what a list of operations would change: the keys that it puts and the ranges that it deletes.
type touched struct {
	puts    map[string]struct{}
	deletes []keyRange
	// open are the deletes without an upper bound. As with etcd they overlap nothing, so that a transaction may put what it
	// has deleted; but not if the put, one of kept, needs what was there before.
	open []keyRange
	kept [][]byte
}

// spoils tells whether an open delete takes away what a put of other needs.
func (t *touched) spoils(other *touched) bool {
	for _, r := range t.open {
		for _, key := range other.kept {
			if r.contains(key) {
				return true
			}
		}
	}
	return false
}

func (t *touched) deletesKey(key string) bool {
	for _, r := range t.deletes {
		if r.contains([]byte(key)) {
			return true
		}
	}
	return false
}

// add takes in the keys that a branch puts. A key in exempt may be there already: the branch excludes the
// one that put it.
func (t *touched) add(puts, exempt map[string]struct{}) error {
	for key := range puts {
		if _, double := t.puts[key]; double {
			if _, ok := exempt[key]; !ok {
				return ErrDuplicateKey
			}
		}
		if t.deletesKey(key) {
			return ErrDuplicateKey
		}
		t.puts[key] = struct{}{}
	}
	return nil
}

// checkOverlaps rejects operations of which one puts a key that another one puts or deletes, as etcd does:
// the deletes of a level come first, then its nested transactions in their order, then its puts.
func checkOverlaps(ops []*pb.RequestOp) (*touched, error) {
	t := &touched{puts: make(map[string]struct{}, len(ops))}
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			if r := newKeyRange(d.Key, d.RangeEnd); r.point || r.hi != nil {
				t.deletes = append(t.deletes, r)
			} else {
				t.open = append(t.open, r)
			}
		}
	}
	for _, op := range ops {
		if nested := op.GetRequestTxn(); nested != nil {
			if err := t.addNested(nested); err != nil {
				return nil, err
			}
		}
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if err := t.add(map[string]struct{}{string(p.Key): {}}, nil); err != nil {
				return nil, err
			}
			if p.IgnoreValue || p.IgnoreLease {
				t.kept = append(t.kept, p.Key)
			}
		}
	}
	if t.spoils(t) {
		return nil, ErrDuplicateKey
	}
	return t, nil
}

func (t *touched) addNested(nested *pb.TxnRequest) error {
	then, err := checkOverlaps(nested.Success)
	if err != nil {
		return err
	}
	otherwise, err := checkOverlaps(nested.Failure)
	if err != nil {
		return err
	}
	if err := t.add(then.puts, nil); err != nil {
		return err
	}
	if err := t.add(otherwise.puts, then.puts); err != nil {
		return err
	}
	t.deletes = append(append(t.deletes, then.deletes...), otherwise.deletes...)
	t.open = append(append(t.open, then.open...), otherwise.open...)
	t.kept = append(append(t.kept, then.kept...), otherwise.kept...)
	return nil
}
