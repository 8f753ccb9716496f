package kv

import (
	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv/etcdfile"
)

// importLease writes a lease, with what was left of it where that was noted.
func importLease(b *pebble.Batch, l etcdfile.Lease) error {
	term := leaseTerm{ttl: max(l.TTL, MinLeaseTTL), remaining: max(l.Remaining, 0)}
	return b.Set(leaseKey(l.ID), term.encode(), nil)
}

// importAuth writes users and roles, with the hashes of their passwords.
func importAuth(b *pebble.Batch, c *etcdfile.Contents) error {
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

// replaceAuth writes users and roles in place of those that were written before.
func replaceAuth(b *pebble.Batch, c *etcdfile.Contents) error {
	// '0' follows '/'
	if err := b.DeleteRange(metaKey("auth/"), metaKey("auth0"), nil); err != nil {
		return err
	}
	return importAuth(b, c)
}

func setMessage(b *pebble.Batch, key []byte, m proto.Message) error {
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return err
	}
	return b.Set(key, content, nil)
}
