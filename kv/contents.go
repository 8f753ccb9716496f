package kv

import (
	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/layout"
)

// ReadContents adds everything but the keys, in etcd's terms.
func ReadContents(db pebble.Reader, c *etcdfile.Contents) error {
	var leases leaseTable
	if err := leases.load(db); err != nil {
		return err
	}
	for id, term := range leases.granted {
		c.Leases = append(c.Leases, etcdfile.Lease{ID: id, TTL: term.ttl, Remaining: term.remaining})
	}
	auth, err := loadAuth(db)
	if err != nil {
		return err
	}
	c.AuthEnabled, c.AuthRevision = auth.Enabled(), auth.Revision()
	for _, name := range auth.Users() {
		c.Users = append(c.Users, auth.User(name))
	}
	for _, name := range auth.Roles() {
		c.Roles = append(c.Roles, auth.Role(name))
	}
	var members memberTable
	if err := members.load(db); err != nil {
		return err
	}
	for _, r := range members.records {
		if m := r.member; !r.removed {
			c.Members = append(c.Members, etcdfile.Member{
				ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.IsLearner,
			})
		}
	}
	var alarms alarmTable
	if err := alarms.load(db, &members); err != nil {
		return err
	}
	for member, set := range alarms.raised {
		c.Alarms = append(c.Alarms, set.shown(member)...)
	}
	return nil
}

// WriteLease writes a lease, with what was left of it where that was noted.
func WriteLease(b *pebble.Batch, l etcdfile.Lease) error {
	term := leaseTerm{ttl: max(l.TTL, MinLeaseTTL), remaining: max(l.Remaining, 0)}
	return b.Set(layout.LeaseKey(l.ID), term.encode(), nil)
}

// WriteAuth writes users and roles, with the hashes of their passwords.
func WriteAuth(b *pebble.Batch, c *etcdfile.Contents) error {
	for _, u := range c.Users {
		if err := setMessage(b, authUserKey(string(u.Name)), u); err != nil {
			return err
		}
	}
	for _, r := range c.Roles {
		if err := setMessage(b, authRoleKey(string(r.Name)), r); err != nil {
			return err
		}
	}
	if !c.AuthEnabled && c.AuthRevision == 0 {
		return nil
	}
	return b.Set(authStateKey, encodeAuthState(c.AuthEnabled, max(c.AuthRevision, 1)), nil)
}

// ReplaceAuth writes users and roles in place of those that were written before.
func ReplaceAuth(b *pebble.Batch, c *etcdfile.Contents) error {
	// '0' follows '/'
	if err := b.DeleteRange(layout.MetaKey("auth/"), layout.MetaKey("auth0"), nil); err != nil {
		return err
	}
	return WriteAuth(b, c)
}

func setMessage(b *pebble.Batch, key []byte, m proto.Message) error {
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return err
	}
	return b.Set(key, content, nil)
}

// ForgetGroup removes what is of the group of members alone: its records of them, their alarms, and its announced downgrade.
func ForgetGroup(b *pebble.Batch) error {
	for _, prefix := range []string{"member", "alarm"} {
		// '0' follows '/'
		if err := b.DeleteRange(layout.MetaKey(prefix+"/"), layout.MetaKey(prefix+"0"), nil); err != nil {
			return err
		}
	}
	return b.Delete(downgradeKey, nil)
}
