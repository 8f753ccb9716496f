package kv

import (
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The checks answer nil, or the ErrorCode that etcd answers. To a nil Caller, which is the master itself, everything is
// permitted, and to everybody as long as users are not told apart.

// LeaseKeys calls visit for each key that hangs on a lease, until visit returns an error, which it returns.
type LeaseKeys func(id int64, visit func(key []byte) error) error

// CheckUser tells whether c is a known user, or need not be.
func (a *AuthState) CheckUser(c *Caller) error {
	if c == nil || !a.enabled {
		return nil
	}
	if c.User == "" {
		return ErrUserEmpty
	}
	return nil
}

// CheckAdmin tells whether c may do what only users with the role root may.
func (a *AuthState) CheckAdmin(c *Caller) error {
	if err := a.CheckUser(c); err != nil || c == nil || !a.enabled {
		return err
	}
	u := a.users[c.User]
	switch {
	case u == nil:
		return ErrUserNotFound
	case !hasRole(u, RootRole):
		return ErrPermissionDenied
	}
	return nil
}

// CheckRead tells whether c may read the keys that a request's key and range_end mean.
func (a *AuthState) CheckRead(c *Caller, key, end []byte) error {
	return a.checkKeys(c, newKeyRange(key, end), authpb.Permission_READ)
}

// CheckWrite tells whether c may write, or delete, the keys that a request's key and range_end mean.
func (a *AuthState) CheckWrite(c *Caller, key, end []byte) error {
	return a.checkKeys(c, newKeyRange(key, end), authpb.Permission_WRITE)
}

func (a *AuthState) checkKeys(c *Caller, r keyRange, kind authpb.Permission_Type) error {
	if c == nil || !a.enabled {
		return nil
	}
	switch {
	case c.User == "" || c.AuthRevision == 0:
		return ErrUserEmpty
	case c.AuthRevision < a.revision:
		return ErrAuthOldRevision
	}
	u := a.users[c.User]
	if u == nil {
		return ErrPermissionDenied
	}
	if hasRole(u, RootRole) {
		return nil
	}
	granted := a.grants[c.User].read
	if kind == authpb.Permission_WRITE {
		granted = a.grants[c.User].write
	}
	if !granted.covers(r) {
		return ErrPermissionDenied
	}
	return nil
}

// CheckLeaseWrite tells whether c may write every key of a lease: who may not, may neither renew nor end it, nor make it
// longer-lived by a key of his own.
func (a *AuthState) CheckLeaseWrite(c *Caller, id int64, keys LeaseKeys) error {
	return a.checkLease(c, id, keys, authpb.Permission_WRITE)
}

// CheckLeaseRead tells whether c may know the keys of a lease.
func (a *AuthState) CheckLeaseRead(c *Caller, id int64, keys LeaseKeys) error {
	return a.checkLease(c, id, keys, authpb.Permission_READ)
}

func (a *AuthState) checkLease(c *Caller, id int64, keys LeaseKeys, kind authpb.Permission_Type) error {
	if a.CheckAdmin(c) == nil {
		return nil
	}
	if err := a.CheckUser(c); err != nil {
		return err
	}
	return keys(id, func(key []byte) error { return a.checkKeys(c, keyRange{lo: key, point: true}, kind) })
}

// CheckTxn tells whether c may do everything in a transaction: in both of its branches, and in those of the transactions
// nested in it. keys is not asked about a transaction that is only read.
func (a *AuthState) CheckTxn(c *Caller, t *pb.TxnRequest, keys LeaseKeys) error {
	if c == nil || !a.enabled {
		return nil
	}
	if err := a.CheckUser(c); err != nil { // an empty transaction too
		return err
	}
	for _, compare := range t.Compare {
		if err := a.CheckRead(c, compare.Key, compare.RangeEnd); err != nil {
			return err
		}
	}
	for _, ops := range [...][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range ops {
			if err := a.checkOp(c, op, keys); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *AuthState) checkOp(c *Caller, op *pb.RequestOp, keys LeaseKeys) error {
	switch {
	case op.GetRequestRange() != nil:
		return a.CheckRead(c, op.GetRequestRange().Key, op.GetRequestRange().RangeEnd)
	case op.GetRequestPut() != nil:
		return a.checkPut(c, op.GetRequestPut(), keys)
	case op.GetRequestDeleteRange() != nil:
		return a.checkDelete(c, op.GetRequestDeleteRange())
	case op.GetRequestTxn() != nil:
		return a.CheckTxn(c, op.GetRequestTxn(), keys)
	}
	return ErrPermissionDenied // not known, so not permitted
}

func (a *AuthState) checkPut(c *Caller, p *pb.PutRequest, keys LeaseKeys) error {
	if err := a.CheckWrite(c, p.Key, nil); err != nil {
		return err
	}
	if p.PrevKv {
		if err := a.CheckRead(c, p.Key, nil); err != nil {
			return err
		}
	}
	if p.Lease == 0 {
		return nil
	}
	return a.CheckLeaseWrite(c, p.Lease, keys)
}

func (a *AuthState) checkDelete(c *Caller, d *pb.DeleteRangeRequest) error {
	if err := a.CheckWrite(c, d.Key, d.RangeEnd); err != nil {
		return err
	}
	if d.PrevKv {
		return a.CheckRead(c, d.Key, d.RangeEnd)
	}
	return nil
}

// authorize tells whether the command's caller may do it, by what was applied before it. The error is an ErrorCode, or a
// failure of the disk.
func (w *writer) authorize(c *Command) error {
	switch {
	case c.Put != nil:
		return w.auth.checkPut(c.Caller, c.Put, w.leaseKeys)
	case c.DeleteRange != nil:
		return w.auth.checkDelete(c.Caller, c.DeleteRange)
	case c.Txn != nil:
		return w.auth.CheckTxn(c.Caller, c.Txn, w.leaseKeys)
	case c.LeaseGrant != nil:
		return w.auth.CheckUser(c.Caller)
	case c.LeaseRevoke != nil:
		return w.auth.CheckLeaseWrite(c.Caller, c.LeaseRevoke.ID, w.leaseKeys)
	case c.Auth != nil:
		return w.auth.checkChange(c)
	}
	return w.auth.CheckAdmin(c.Caller)
}

// leaseKeys is LeaseKeys as the command sees them.
func (w *writer) leaseKeys(id int64, visit func(key []byte) error) error {
	reader, err := w.reader()
	if err != nil {
		return err
	}
	return visitLeaseKeys(reader, id, visit)
}
