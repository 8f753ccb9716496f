package etcdv3

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/kv"
)

// cheapPasswords are options for tests that are not about how hard passwords are to guess.
var cheapPasswords = Options{BcryptCost: bcrypt.MinCost}

// enableAuth makes users of whom everybody's password is his name: root, and alice who may read r/, write w/ and do both in b/.
func enableAuth(t testing.TB, c *clientv3.Client) {
	t.Helper()
	ctx := t.Context()
	check := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"root", "alice"} {
		check(c.UserAdd(ctx, user, user))
	}
	check(c.UserGrantRole(ctx, "root", "root"))
	check(c.RoleAdd(ctx, "some"))
	check(c.RoleGrantPermission(ctx, "some", "r/", "r0", clientv3.PermissionType(clientv3.PermRead)))
	check(c.RoleGrantPermission(ctx, "some", "w/", "w0", clientv3.PermissionType(clientv3.PermWrite)))
	check(c.RoleGrantPermission(ctx, "some", "b/", "b0", clientv3.PermissionType(clientv3.PermReadWrite)))
	check(c.UserGrantRole(ctx, "alice", "some"))
	for _, key := range []string{"r/1", "w/1", "b/1", "secret"} {
		check(c.Put(ctx, key, "v"))
	}
	check(c.AuthEnable(ctx))
}

// login opens etcd's own client as a user whose password is his name.
func login(t testing.TB, address, user string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{address}, Username: user, Password: user, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// withAuth is a server where users are told apart, with clients for root and alice.
func withAuth(t testing.TB, o Options) (b *localBackend, address string, root, alice *clientv3.Client) {
	t.Helper()
	b = newLocalBackend(t)
	address = serve(t, b, ServerConfig{}, o)
	enableAuth(t, connect(t, address))
	return b, address, login(t, address, "root"), login(t, address, "alice")
}

func TestUsersAndRoles(t *testing.T) {
	_, address, root, alice := withAuth(t, cheapPasswords)
	ctx := t.Context()
	users, err := root.UserList(ctx)
	if err != nil || !slices.Equal(users.Users, []string{"alice", "root"}) || users.Header.MemberId != localID {
		t.Errorf("users: %v, %v", users, err)
	}
	roles, err := root.RoleList(ctx)
	if err != nil || !slices.Equal(roles.Roles, []string{"some"}) {
		t.Errorf("roles: %v, %v", roles, err)
	}
	st, err := connect(t, address).AuthStatus(ctx)
	if err != nil || !st.Enabled || st.AuthRevision != 9 {
		t.Errorf("status: %v, %v", st, err)
	}
	if _, err := root.RoleAdd(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	if r, err := root.RoleGet(ctx, "root"); err != nil || len(r.Perm) != 1 || string(r.Perm[0].RangeEnd) != "\x00" {
		t.Errorf("role root: %v, %v", r, err)
	}
	// Everybody may know of himself and his roles.
	if u, err := alice.UserGet(ctx, "alice"); err != nil || !slices.Equal(u.Roles, []string{"some"}) {
		t.Errorf("alice of herself: %v, %v", u, err)
	}
	if r, err := alice.RoleGet(ctx, "some"); err != nil || len(r.Perm) != 3 {
		t.Errorf("alice of her role: %v, %v", r, err)
	}
	for what, err := range map[string]error{
		"user":  second(alice.UserGet(ctx, "root")),
		"role":  second(alice.RoleGet(ctx, "root")),
		"users": second(alice.UserList(ctx)),
		"roles": second(alice.RoleList(ctx)),
		"grant": second(alice.UserGrantRole(ctx, "alice", "root")),
	} {
		if !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("alice, %s: %v", what, err)
		}
	}
	if _, err := root.UserDelete(ctx, "root"); !errors.Is(err, rpctypes.ErrInvalidAuthMgmt) {
		t.Errorf("root deletes himself: %v", err)
	}
	if _, err := root.UserAdd(ctx, "long", string(make([]byte, 73))); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a password that bcrypt would cut: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestAuthenticate(t *testing.T) {
	_, address, root, _ := withAuth(t, cheapPasswords)
	ctx := t.Context()
	if _, err := root.UserAddWithOptions(ctx, "bare", "", &clientv3.UserAddOptions{NoPassword: true}); err != nil {
		t.Fatal(err)
	}
	anybody := connect(t, address)
	for _, c := range []struct{ name, password string }{{"alice", "wrong"}, {"alice", ""}, {"nobody", "x"}, {"bare", ""}, {"bare", "x"}, {"", ""}} {
		if _, err := anybody.Authenticate(ctx, c.name, c.password); !errors.Is(err, rpctypes.ErrAuthFailed) {
			t.Errorf("%q with %q: %v", c.name, c.password, err)
		}
	}
	if _, err := root.AuthDisable(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := anybody.Authenticate(ctx, "alice", "alice"); !errors.Is(err, rpctypes.ErrAuthNotEnabled) {
		t.Errorf("where users are not told apart: %v", err)
	}
	if _, err := anybody.Put(ctx, "secret", ""); err != nil {
		t.Errorf("where users are not told apart: %v", err)
	}
}

// What a user may do through etcd's client, in transactions and outside, with the errors that etcd has.
func TestRightsOfKeys(t *testing.T) {
	_, _, root, alice := withAuth(t, cheapPasswords)
	ctx := t.Context()
	txn := func(ops ...clientv3.Op) error { return second(alice.Txn(ctx).Then(ops...).Commit()) }
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"get":                  {second(alice.Get(ctx, "r/1")), nil},
		"get a range":          {second(alice.Get(ctx, "r/", clientv3.WithPrefix())), nil},
		"get serializably":     {second(alice.Get(ctx, "b/1", clientv3.WithSerializable())), nil},
		"get other":            {second(alice.Get(ctx, "secret")), rpctypes.ErrPermissionDenied},
		"get other so":         {second(alice.Get(ctx, "secret", clientv3.WithSerializable())), rpctypes.ErrPermissionDenied},
		"get from":             {second(alice.Get(ctx, "r/", clientv3.WithFromKey())), rpctypes.ErrPermissionDenied},
		"count":                {second(alice.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithCountOnly())), rpctypes.ErrPermissionDenied},
		"get what is written":  {second(alice.Get(ctx, "w/1")), rpctypes.ErrPermissionDenied},
		"put":                  {second(alice.Put(ctx, "w/1", "")), nil},
		"put what is read":     {second(alice.Put(ctx, "r/1", "")), rpctypes.ErrPermissionDenied},
		"put, previous":        {second(alice.Put(ctx, "w/1", "", clientv3.WithPrevKV())), rpctypes.ErrPermissionDenied},
		"delete":               {second(alice.Delete(ctx, "b/", clientv3.WithPrefix(), clientv3.WithPrevKV())), nil},
		"delete, previous":     {second(alice.Delete(ctx, "w/1", clientv3.WithPrevKV())), rpctypes.ErrPermissionDenied},
		"delete all":           {second(alice.Delete(ctx, "", clientv3.WithPrefix())), rpctypes.ErrPermissionDenied},
		"compact":              {second(alice.Compact(ctx, 3)), rpctypes.ErrPermissionDenied},
		"txn of reads":         {txn(clientv3.OpGet("r/1"), clientv3.OpGet("b/1")), nil},
		"txn of reads, others": {txn(clientv3.OpGet("r/1"), clientv3.OpGet("secret")), rpctypes.ErrPermissionDenied},
		"txn":                  {txn(clientv3.OpGet("r/1"), clientv3.OpPut("w/1", "")), nil},
		"nested txn":           {txn(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet("secret")}, nil)), rpctypes.ErrPermissionDenied},
		"compare": {second(alice.Txn(ctx).If(clientv3.Compare(clientv3.Value("secret"), ">", "a")).Commit()),
			rpctypes.ErrPermissionDenied},
		"members":      {second(alice.MemberList(ctx)), nil},
		"alarms":       {second(alice.AlarmList(ctx)), nil},
		"move leader":  {second(alice.MoveLeader(ctx, 1)), rpctypes.ErrPermissionDenied},
		"add member":   {second(alice.MemberAdd(ctx, []string{"http://127.0.0.1:1"})), rpctypes.ErrPermissionDenied},
		"disable":      {second(alice.AuthDisable(ctx)), rpctypes.ErrPermissionDenied},
		"raise alarms": {second(alice.AlarmDisarm(ctx, &clientv3.AlarmMember{Alarm: pb.AlarmType_NOSPACE})), rpctypes.ErrPermissionDenied},
	} {
		if c.want == nil && c.err != nil || c.want != nil && !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	if _, err := root.Get(ctx, "", clientv3.WithPrefix()); err != nil {
		t.Errorf("root reads everything: %v", err)
	}
}

func TestRightsOfLeases(t *testing.T) {
	_, address, root, alice := withAuth(t, cheapPasswords)
	ctx := t.Context()
	lease := func(keys ...string) clientv3.LeaseID {
		t.Helper()
		l, err := root.Grant(ctx, 60)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if _, err := root.Put(ctx, key, "", clientv3.WithLease(l.ID)); err != nil {
				t.Fatal(err)
			}
		}
		return l.ID
	}
	others, written, own := lease("secret"), lease("w/1"), lease("b/1")
	denied := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("%s: %v", what, err)
		}
	}
	may := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	denied("list", second(alice.Leases(ctx)))
	denied("revoke", second(alice.Revoke(ctx, others)))
	denied("attach", second(alice.Put(ctx, "w/2", "", clientv3.WithLease(others))))
	denied("keep alive", second(alice.KeepAliveOnce(ctx, others)))
	denied("keys", second(alice.TimeToLive(ctx, others, clientv3.WithAttachedKeys())))
	denied("keys that are only written", second(alice.TimeToLive(ctx, written, clientv3.WithAttachedKeys())))
	may("time to live", second(alice.TimeToLive(ctx, others)))
	may("keep alive", second(alice.KeepAliveOnce(ctx, written)))
	may("keys", second(alice.TimeToLive(ctx, own, clientv3.WithAttachedKeys())))
	may("attach", second(alice.Put(ctx, "w/2", "", clientv3.WithLease(written))))
	may("revoke", second(alice.Revoke(ctx, own)))
	may("grant", second(alice.Grant(ctx, 60)))
	may("all of them", second(root.Leases(ctx)))
	if _, err := connect(t, address).TimeToLive(ctx, others); !errors.Is(err, rpctypes.ErrUserEmpty) {
		t.Errorf("nobody's time to live: %v", err)
	}
}

// GHSA-xg4h: a watch's empty key is the first one, and its end "\0" is none: by what it shows, not by what it says.
func TestRightsOfWatches(t *testing.T) {
	_, _, root, alice := withAuth(t, cheapPasswords)
	ctx := t.Context()
	for what, options := range map[string][]clientv3.OpOption{
		"":       {clientv3.WithFromKey()},
		"\x00":   {clientv3.WithFromKey()},
		"r/":     {clientv3.WithFromKey()},
		"r/1":    {clientv3.WithRange("s")},
		"w/1":    nil,
		"secret": nil,
	} {
		resp, ok := <-alice.Watch(ctx, what, options...)
		if !ok || !resp.Canceled || resp.Err() == nil || !strings.HasSuffix(resp.Err().Error(), rpctypes.ErrorDesc(rpctypes.ErrGRPCPermissionDenied)) {
			t.Errorf("a watch of %q: %+v", what, resp)
		}
	}
	events := alice.Watch(ctx, "r/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	if resp := <-events; !resp.Created {
		t.Fatalf("%+v", resp)
	}
	put := func(want ...string) {
		t.Helper()
		for _, value := range want {
			if _, err := root.Put(ctx, "r/1", value); err != nil {
				t.Fatal(err)
			}
			if resp := <-events; len(resp.Events) != 1 || string(resp.Events[0].Kv.Value) != value {
				t.Fatalf("%+v", resp)
			}
		}
	}
	put("one")
	if _, err := root.RoleAdd(ctx, "other"); err != nil { // a change that takes nothing away
		t.Fatal(err)
	}
	put("two", "three")
	if _, err := root.UserRevokeRole(ctx, "alice", "some"); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Put(ctx, "r/1", "hidden"); err != nil {
		t.Fatal(err)
	}
	if resp, ok := <-events; ok { // etcd's client says no more than that
		t.Errorf("after the right was lost: %+v", resp)
	}
}

// A client with a token that is not good any more is told so, in the words by which etcd's client asks for another.
func TestBadTokens(t *testing.T) {
	_, address, root, alice := withAuth(t, cheapPasswords)
	ctx := t.Context()
	c := connect(t, address)
	kvs := pb.NewKVClient(plainConn(t, address))
	get := func(token string) error {
		return second(kvs.Range(withToken(ctx, token), &pb.RangeRequest{Key: []byte("r/1")}))
	}
	put := func(token string) error {
		return second(kvs.Put(withToken(ctx, token), &pb.PutRequest{Key: []byte("w/1")}))
	}
	for _, token := range []string{"", "x", "a.1", "eyJ.e30.x", strings.Repeat("x", 4096)} {
		for what, err := range map[string]error{"get": get(token), "put": put(token)} {
			if status.Code(err) != codes.Unauthenticated || status.Convert(err).Message() != kv.ErrInvalidAuthToken.Error() {
				t.Errorf("%s with token %q: %v", what, token, err)
			}
		}
	}
	login, err := c.Authenticate(ctx, "alice", "alice")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(get(login.Token), put(login.Token), put("Bearer "+login.Token)); err != nil {
		t.Error(err)
	}
	if _, err := root.UserChangePassword(ctx, "alice", "another"); err != nil {
		t.Fatal(err)
	}
	if err := get(login.Token); status.Code(err) != codes.Unauthenticated {
		t.Errorf("after a change of the password: %v", err)
	}
	if _, err := alice.Get(ctx, "r/1"); !errors.Is(err, rpctypes.ErrAuthFailed) {
		t.Errorf("a client that has the old password: %v", err)
	}
}

func withToken(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
}

// Where users are not told apart, that they could be costs a call no memory.
func TestNoUsersCostNothing(t *testing.T) {
	b := newAuthorized(newLocalBackend(t), cheapPasswords.withDefaults())
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(rpctypes.TokenFieldNameGRPC, "x"))
	if n := testing.AllocsPerRun(100, func() {
		if c, err := b.authorizer.Caller(ctx); c != kv.Anonymous || err != nil {
			t.Error(c, err)
		}
	}); n != 0 {
		t.Errorf("to know the caller takes %v allocations", n)
	}
	b.Backend = silentBackend{b.Backend}
	r := &pb.RangeRequest{Key: []byte("k")}
	if n := testing.AllocsPerRun(100, func() { _, _ = b.Range(ctx, r) }); n != 0 {
		t.Errorf("a range takes %v allocations beside those of the store", n)
	}
}

// silentBackend answers ranges with nothing, for which it takes no memory.
type silentBackend struct{ Backend }

func (silentBackend) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	return nil, nil
}
