package kv

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// checkChange tells whether the caller may make a change. A token is for the one whose password was checked, as long as
// nothing was changed since.
func (a *AuthState) checkChange(c *Command) error {
	login, ok := c.Auth.(*pb.InternalAuthenticateRequest)
	switch {
	case !ok:
		return a.CheckAdmin(c.Caller)
	case c.Caller == nil:
		return nil
	case c.Caller.User != login.Name:
		return ErrPermissionDenied
	case c.Caller.AuthRevision != a.revision:
		return ErrAuthOldRevision
	}
	return nil
}

// changeAuth carries a change of users and roles out. Its response has a header and nothing else.
func (w *writer) changeAuth(change proto.Message) (proto.Message, error) {
	h := header64(w.state.Revision)
	switch r := change.(type) {
	case *pb.AuthEnableRequest:
		return result(&pb.AuthEnableResponse{Header: h}, w.enableAuth())
	case *pb.AuthDisableRequest:
		return result(&pb.AuthDisableResponse{Header: h}, w.disableAuth())
	case *pb.AuthUserAddRequest:
		return result(&pb.AuthUserAddResponse{Header: h}, w.addUser(r))
	case *pb.AuthUserDeleteRequest:
		return result(&pb.AuthUserDeleteResponse{Header: h}, w.deleteUser(r.Name))
	case *pb.AuthUserChangePasswordRequest:
		return result(&pb.AuthUserChangePasswordResponse{Header: h}, w.changePassword(r))
	case *pb.AuthUserGrantRoleRequest:
		return result(&pb.AuthUserGrantRoleResponse{Header: h}, w.grantRole(r.User, r.Role))
	case *pb.AuthUserRevokeRoleRequest:
		return result(&pb.AuthUserRevokeRoleResponse{Header: h}, w.revokeRole(r.Name, r.Role))
	case *pb.AuthRoleAddRequest:
		return result(&pb.AuthRoleAddResponse{Header: h}, w.addRole(r.Name))
	case *pb.AuthRoleDeleteRequest:
		return result(&pb.AuthRoleDeleteResponse{Header: h}, w.deleteRole(r.Role))
	case *pb.AuthRoleGrantPermissionRequest:
		return result(&pb.AuthRoleGrantPermissionResponse{Header: h}, w.grantPermission(r.Name, r.Perm))
	case *pb.AuthRoleRevokePermissionRequest:
		return result(&pb.AuthRoleRevokePermissionResponse{Header: h}, w.revokePermission(r.Role, r.Key, r.RangeEnd))
	case *pb.InternalAuthenticateRequest:
		return result(&pb.AuthenticateResponse{Header: h}, w.assignToken(r))
	}
	return nil, ErrInvalidCommand
}

// authChange is a new state of users and roles in the making.
type authChange struct {
	*AuthState
	w   *writer
	err error // the first failure of the disk
}

func (w *writer) beginAuth() *authChange { return &authChange{AuthState: w.auth.clone(), w: w} }

// end makes the new state the one of what follows.
func (c *authChange) end() error {
	c.set(authStateKey, encodeAuthState(c.enabled, c.revision))
	if c.err == nil {
		c.w.auth = c.AuthState
	}
	return c.err
}

func (c *authChange) set(key, value []byte) {
	if c.err == nil {
		c.err = c.w.batch.Set(key, value, nil)
	}
}

func (c *authChange) delete(key []byte) {
	if c.err == nil {
		c.err = c.w.batch.Delete(key, nil)
	}
}

func (c *authChange) setMessage(key []byte, m proto.Message) {
	value, err := proto.Marshal(m)
	if c.err == nil {
		c.err = err
	}
	c.set(key, value)
}

func (c *authChange) putUser(u *authpb.User) {
	name := string(u.Name)
	c.users[name] = u
	c.merge(name)
	c.setMessage(authUserKey(name), u)
}

func (c *authChange) putRole(r *authpb.Role) {
	name := string(r.Name)
	c.roles[name] = r
	c.mergeWith(name)
	c.setMessage(authRoleKey(name), r)
}

func (w *writer) enableAuth() error {
	switch root := w.auth.users[RootUser]; {
	case w.auth.enabled:
		return nil
	case root == nil:
		return ErrRootUserNotExist
	case !hasRole(root, RootRole):
		return ErrRootRoleNotExist
	}
	c := w.beginAuth()
	c.enabled = true
	return c.end()
}

func (w *writer) disableAuth() error {
	if !w.auth.enabled {
		return nil
	}
	c := w.beginAuth()
	c.enabled = false
	c.revision++
	w.assigned, w.forgetTokens = nil, true
	return c.end()
}

// passwordHash decodes what a request has in place of a password.
func passwordHash(encoded string) ([]byte, error) {
	hash, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, ErrInvalidAuthMgmt
	}
	return hash, nil
}

func (w *writer) addUser(r *pb.AuthUserAddRequest) error {
	if w.auth.users[r.Name] != nil {
		return ErrUserExists
	}
	u := &authpb.User{Name: []byte(r.Name), Options: r.Options}
	if u.Options == nil {
		u.Options = &authpb.UserAddOptions{}
	}
	if !u.Options.NoPassword {
		var err error
		if u.Password, err = passwordHash(r.HashedPassword); err != nil {
			return err
		}
	}
	c := w.beginAuth()
	c.putUser(u)
	c.revision++
	return c.end()
}

func (w *writer) deleteUser(name string) error {
	switch {
	case w.auth.enabled && name == RootUser:
		return ErrInvalidAuthMgmt
	case w.auth.users[name] == nil:
		return ErrUserNotFound
	}
	c := w.beginAuth()
	delete(c.users, name)
	c.merge(name)
	c.delete(authUserKey(name))
	c.revision++
	return c.end()
}

// changedUser returns a copy of a user to be changed, or nil.
func (w *writer) changedUser(name string) *authpb.User {
	if u := w.auth.users[name]; u != nil {
		return proto.CloneOf(u)
	}
	return nil
}

func (w *writer) changePassword(r *pb.AuthUserChangePasswordRequest) error {
	u := w.changedUser(r.Name)
	if u == nil {
		return ErrUserNotFound
	}
	u.Password = nil
	if !u.GetOptions().GetNoPassword() {
		var err error
		if u.Password, err = passwordHash(r.HashedPassword); err != nil {
			return err
		}
	}
	c := w.beginAuth()
	c.putUser(u)
	c.revision++
	return c.end()
}

func (w *writer) grantRole(user, role string) error {
	u := w.changedUser(user)
	switch {
	case u == nil:
		return ErrUserNotFound
	case role != RootRole && w.auth.roles[role] == nil:
		return ErrRoleNotFound
	case hasRole(u, role):
		return nil // no change, as in etcd
	}
	u.Roles = append(u.Roles, role)
	slices.Sort(u.Roles)
	c := w.beginAuth()
	c.putUser(u)
	c.revision++
	return c.end()
}

func (w *writer) revokeRole(user, role string) error {
	if w.auth.enabled && user == RootUser && role == RootRole {
		return ErrInvalidAuthMgmt
	}
	u := w.changedUser(user)
	switch {
	case u == nil:
		return ErrUserNotFound
	case !hasRole(u, role):
		return ErrRoleNotGranted
	}
	c := w.beginAuth()
	c.takeRole(u, role)
	c.revision++
	return c.end()
}

func (c *authChange) takeRole(u *authpb.User, role string) {
	u.Roles = slices.DeleteFunc(u.Roles, func(have string) bool { return have == role })
	c.putUser(u)
}

func (w *writer) addRole(name string) error {
	if w.auth.roles[name] != nil {
		return ErrRoleExists
	}
	c := w.beginAuth()
	c.putRole(&authpb.Role{Name: []byte(name)})
	c.revision++
	return c.end()
}

func (w *writer) deleteRole(name string) error {
	switch {
	case w.auth.enabled && name == RootRole:
		return ErrInvalidAuthMgmt
	case w.auth.roles[name] == nil:
		return ErrRoleNotFound
	}
	c := w.beginAuth()
	delete(c.roles, name)
	c.delete(authRoleKey(name))
	for _, user := range c.Users() {
		if hasRole(c.users[user], name) {
			c.takeRole(proto.CloneOf(c.users[user]), name)
		}
	}
	c.revision++
	return c.end()
}

func validatePermission(p *authpb.Permission) error {
	if p == nil {
		return ErrPermissionNotGiven
	}
	_, known := authpb.Permission_Type_name[int32(p.PermType)]
	if len(p.Key) == 0 || newKeyRange(p.Key, p.RangeEnd).empty() || !known {
		return ErrInvalidAuthMgmt
	}
	return nil
}

func comparePermissions(a, b *authpb.Permission) int {
	return cmp.Or(bytes.Compare(a.Key, b.Key), bytes.Compare(a.RangeEnd, b.RangeEnd))
}

func (w *writer) grantPermission(role string, p *authpb.Permission) error {
	old := w.auth.roles[role]
	if old == nil {
		return ErrRoleNotFound
	}
	r := proto.CloneOf(old)
	i, found := slices.BinarySearchFunc(r.KeyPermission, p, comparePermissions)
	if found {
		r.KeyPermission[i] = p
	} else {
		r.KeyPermission = slices.Insert(r.KeyPermission, i, p)
	}
	c := w.beginAuth()
	c.putRole(r)
	c.revision++
	return c.end()
}

func (w *writer) revokePermission(role string, key, end []byte) error {
	old := w.auth.roles[role]
	if old == nil {
		return ErrRoleNotFound
	}
	r := proto.CloneOf(old)
	r.KeyPermission = slices.DeleteFunc(r.KeyPermission, func(p *authpb.Permission) bool {
		return bytes.Equal(p.Key, key) && bytes.Equal(p.RangeEnd, end)
	})
	if len(r.KeyPermission) == len(old.KeyPermission) {
		return ErrPermissionNotGranted
	}
	c := w.beginAuth()
	c.putRole(r)
	c.revision++
	return c.end()
}
