package auth

import (
	"context"
	"errors"
	"log/slog"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
	"github.com/ctlplane/ctlplane/kv"
)

// server is etcd's Auth service. Who may call what is in rules; a change is checked once more where it is applied.
type server struct {
	pb.UnimplementedAuthServer
	authorizer *Authorizer
	store      Backend
	passwords  *passwords
	log        *slog.Logger
}

// NewServer makes the service over an authorizer, which was made with the same options.
func NewServer(a *Authorizer, o Options) pb.AuthServer {
	o = o.withDefaults()
	return &server{authorizer: a, store: a.store, passwords: newPasswords(o.BcryptCost), log: o.Logger}
}

// changeAuth has a change of users and roles applied.
func changeAuth[R proto.Message](ctx context.Context, s *server, change proto.Message) (R, error) {
	resp, err := Propose[R](ctx, s.authorizer, kv.Command{Auth: change})
	if err != nil {
		return resp, rpcerr.ToStatus(err)
	}
	return resp, nil
}

func (s *server) AuthEnable(ctx context.Context, r *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	return changeAuth[*pb.AuthEnableResponse](ctx, s, r)
}

func (s *server) AuthDisable(ctx context.Context, r *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	return changeAuth[*pb.AuthDisableResponse](ctx, s, r)
}

func (s *server) UserDelete(ctx context.Context, r *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	return changeAuth[*pb.AuthUserDeleteResponse](ctx, s, r)
}

func (s *server) UserGrantRole(ctx context.Context, r *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	return changeAuth[*pb.AuthUserGrantRoleResponse](ctx, s, r)
}

func (s *server) UserRevokeRole(ctx context.Context, r *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	return changeAuth[*pb.AuthUserRevokeRoleResponse](ctx, s, r)
}

func (s *server) RoleAdd(ctx context.Context, r *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	return changeAuth[*pb.AuthRoleAddResponse](ctx, s, r)
}

func (s *server) RoleDelete(ctx context.Context, r *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	return changeAuth[*pb.AuthRoleDeleteResponse](ctx, s, r)
}

func (s *server) RoleGrantPermission(ctx context.Context, r *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	return changeAuth[*pb.AuthRoleGrantPermissionResponse](ctx, s, r)
}

func (s *server) RoleRevokePermission(ctx context.Context, r *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	return changeAuth[*pb.AuthRoleRevokePermissionResponse](ctx, s, r)
}

// UserAdd, as in etcd, gives a user for whom none was asked for the empty password, unless he is to have none at all. No
// password gets any further than this.
func (s *server) UserAdd(ctx context.Context, r *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	change := &pb.AuthUserAddRequest{Name: r.Name, Options: r.Options}
	if r.Name == "" {
		return nil, rpcerr.ToStatus(kv.ErrUserEmpty)
	}
	if !r.GetOptions().GetNoPassword() {
		var err error
		if change.HashedPassword, err = s.passwords.hash(ctx, r.Password); err != nil {
			return nil, rpcerr.ToStatus(err)
		}
	}
	return changeAuth[*pb.AuthUserAddResponse](ctx, s, change)
}

// UserChangePassword takes a hash in place of a password too, as etcd does. With neither, nobody can log in as this user.
func (s *server) UserChangePassword(ctx context.Context, r *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	change := &pb.AuthUserChangePasswordRequest{Name: r.Name, HashedPassword: r.HashedPassword}
	if r.Password != "" {
		var err error
		if change.HashedPassword, err = s.passwords.hash(ctx, r.Password); err != nil {
			return nil, rpcerr.ToStatus(err)
		}
	}
	return changeAuth[*pb.AuthUserChangePasswordResponse](ctx, s, change)
}

// loginAttempts is how often a password is checked while users and roles change under the check.
const loginAttempts = 10

// Authenticate gives a token for a password.
func (s *server) Authenticate(ctx context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	name, password := r.Name, r.Password
	r.Password = "" // what is done with requests on the way out is not to see it
	token, err := s.login(ctx, name, password)
	if err != nil {
		if errors.Is(err, kv.ErrAuthFailed) {
			s.log.Warn("somebody failed to log in to the key-value store", "user", name)
		}
		return nil, rpcerr.ToStatus(err)
	}
	return &pb.AuthenticateResponse{Header: s.store.Header(), Token: token}, nil
}

func (s *server) login(ctx context.Context, name, password string) (token string, err error) {
	for range loginAttempts {
		if err := s.store.LinearizableRead(ctx); err != nil {
			return "", err
		}
		auth := s.store.Auth()
		if !auth.Enabled() {
			return "", kv.ErrAuthNotEnabled
		}
		if err := s.passwords.check(ctx, auth, name, password); err != nil {
			return "", err
		}
		if token, err = s.authorizer.tokens.issue(ctx, name, auth.Revision()); !errors.Is(err, kv.ErrAuthOldRevision) {
			return token, err
		}
	}
	return "", err
}

// latest returns the users and roles as they are, if permitted says so.
func (s *server) latest(ctx context.Context, permitted Permission) (*kv.AuthState, error) {
	if err := s.store.LinearizableRead(ctx); err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	auth, err := s.authorizer.Check(ctx, permitted)
	if err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	return auth, nil
}

func everybody(*kv.AuthState, *kv.Caller) error { return nil }

func (s *server) AuthStatus(ctx context.Context, _ *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	auth, err := s.latest(ctx, everybody)
	if err != nil {
		return nil, err
	}
	return &pb.AuthStatusResponse{Header: s.store.Header(), Enabled: auth.Enabled(), AuthRevision: auth.Revision()}, nil
}

// UserGet tells an administrator of every user, and any user of himself.
func (s *server) UserGet(ctx context.Context, r *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	auth, err := s.latest(ctx, func(auth *kv.AuthState, c *kv.Caller) error {
		if c != nil && c.User != "" && c.User == r.Name {
			return nil
		}
		return auth.CheckAdmin(c)
	})
	if err != nil {
		return nil, err
	}
	u := auth.User(r.Name)
	if u == nil {
		return nil, rpcerr.ToStatus(kv.ErrUserNotFound)
	}
	return &pb.AuthUserGetResponse{Header: s.store.Header(), Roles: u.Roles}, nil
}

func (s *server) UserList(ctx context.Context, _ *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	auth, err := s.latest(ctx, (*kv.AuthState).CheckAdmin)
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserListResponse{Header: s.store.Header(), Users: auth.Users()}, nil
}

// RoleGet tells an administrator of every role, and any user of his own. The role root has no permissions of its own: it is
// shown as what it comes to.
func (s *server) RoleGet(ctx context.Context, r *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	auth, err := s.latest(ctx, func(auth *kv.AuthState, c *kv.Caller) error {
		if c != nil && auth.HasRole(c.User, r.Role) {
			return nil
		}
		return auth.CheckAdmin(c)
	})
	if err != nil {
		return nil, err
	}
	role := auth.Role(r.Role)
	if role == nil {
		return nil, rpcerr.ToStatus(kv.ErrRoleNotFound)
	}
	resp := &pb.AuthRoleGetResponse{Header: s.store.Header(), Perm: role.KeyPermission}
	if r.Role == kv.RootRole {
		resp.Perm = []*authpb.Permission{{PermType: authpb.Permission_READWRITE, RangeEnd: []byte{0}}}
	}
	return resp, nil
}

func (s *server) RoleList(ctx context.Context, _ *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	auth, err := s.latest(ctx, (*kv.AuthState).CheckAdmin)
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleListResponse{Header: s.store.Header(), Roles: auth.Roles()}, nil
}
