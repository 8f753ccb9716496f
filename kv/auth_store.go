package kv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/etcd/api/v3/authpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// Where users and roles are stored: as etcd's own messages, so that snapshots of either can be made from the other.
const (
	authUserPrefix = "auth/user/"
	authRolePrefix = "auth/role/"
)

var authStateKey = layout.MetaKey("auth/state")

func authUserKey(name string) []byte { return layout.MetaKey(authUserPrefix + name) }
func authRoleKey(name string) []byte { return layout.MetaKey(authRolePrefix + name) }

// encodeAuthState returns the stored form of what is neither a user nor a role.
func encodeAuthState(enabled bool, revision uint64) []byte {
	b := make([]byte, 1, 9)
	if enabled {
		b[0] = 1
	}
	return binary.BigEndian.AppendUint64(b, revision)
}

// authTable is the users and roles in memory, as the committed batches made them.
//
// Invariant: while a batch that changes them becomes visible, the state in current is one with settled set. So a reader
// that finds the same settled state before and after a read has read what was there under it: neither what was written
// after a right was taken away, nor what was deleted before one was granted.
type authTable struct{ current atomic.Pointer[AuthState] }

// Auth returns the users and roles as they are. It waits while a change of them is becoming visible, which does not take
// long. The same state is the same pointer.
func (s *Store) Auth() *AuthState { return s.auth.get() }

func (t *authTable) get() *AuthState {
	for {
		a := t.current.Load()
		if a.settled == nil {
			return a
		}
		<-a.settled
	}
}

// change announces that next is about to replace the present state. settle must be called with whether it has.
func (t *authTable) change(next *AuthState) (settle func(changed bool)) {
	now := t.current.Load()
	if next == now {
		return func(bool) {}
	}
	unsettled := &AuthState{settled: make(chan struct{})}
	t.current.Store(unsettled)
	return func(changed bool) {
		if changed {
			now = next
		}
		t.current.Store(now)
		close(unsettled.settled)
	}
}

func (t *authTable) load(db pebble.Reader) error {
	a, err := loadAuth(db)
	t.current.Store(a)
	return err
}

// loadAuth reads all users and roles.
func loadAuth(reader pebble.Reader) (*AuthState, error) {
	a := newAuthState()
	lower, upper := layout.MetaKey("auth/"), layout.MetaKey("auth0") // '0' follows '/'
	err := layout.EachBetween(reader, lower, upper, func(k, v []byte) error {
		name := string(k[1 : len(k)-1])
		switch {
		case bytes.Equal(k, authStateKey):
			if len(v) != 9 {
				return layout.ErrCorruptRecord
			}
			a.enabled, a.revision = v[0] == 1, binary.BigEndian.Uint64(v[1:])
		case strings.HasPrefix(name, authUserPrefix):
			u := new(authpb.User)
			if err := proto.Unmarshal(v, u); err != nil {
				return fmt.Errorf("user %q: %w", name[len(authUserPrefix):], layout.ErrCorruptRecord)
			}
			slices.Sort(u.Roles)
			a.users[name[len(authUserPrefix):]] = u
		case strings.HasPrefix(name, authRolePrefix):
			r := new(authpb.Role)
			if err := proto.Unmarshal(v, r); err != nil {
				return fmt.Errorf("role %q: %w", name[len(authRolePrefix):], layout.ErrCorruptRecord)
			}
			slices.SortFunc(r.KeyPermission, comparePermissions)
			a.roles[name[len(authRolePrefix):]] = r
		default:
			return layout.ErrCorruptRecord
		}
		return nil
	})
	for name := range a.users {
		a.merge(name)
	}
	return a, err
}
