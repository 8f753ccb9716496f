package kv

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func authCommand(m proto.Message) Command { return Command{Auth: m} }

func addUser(name string) Command {
	return authCommand(&pb.AuthUserAddRequest{Name: name, HashedPassword: base64.StdEncoding.EncodeToString([]byte("hash of " + name))})
}

func grantKeys(role string, kind authpb.Permission_Type, key, end string) Command {
	return authCommand(&pb.AuthRoleGrantPermissionRequest{Name: role, Perm: &authpb.Permission{PermType: kind, Key: []byte(key), RangeEnd: []byte(end)}})
}

func giveRole(user, role string) Command {
	return authCommand(&pb.AuthUserGrantRoleRequest{User: user, Role: role})
}

// as is a command in a user's name, as of now.
func (s *Store) as(user string, c Command) Command {
	c.Caller = Anonymous
	if user != "" {
		c.Caller = &Caller{User: user, AuthRevision: s.Auth().Revision()}
	}
	return c
}

// allowed applies commands that must succeed.
func allowed(t testing.TB, s *Store, commands ...Command) {
	t.Helper()
	for i, r := range apply(t, s, commands...) {
		if r.Err != nil {
			t.Fatalf("command %d: %v", i, r.Err)
		}
	}
}

// refused applies a command that must fail so, and change nothing.
func refused(t testing.TB, s *Store, want ErrorCode, c Command) {
	t.Helper()
	revision, auth := s.Revision(), s.Auth()
	if r := apply(t, s, c)[0]; !errors.Is(r.Err, want) {
		t.Errorf("%s: %v, want %v", printable(c), r.Err, want)
	}
	if s.Revision() != revision || s.Auth() != auth {
		t.Errorf("%s was refused, and has changed something", printable(c))
	}
}

// withUsers is a store with root, and alice who reads r/, writes w/ and does both in b/.
func withUsers(t testing.TB, o Options) *Store {
	s := open(t, o)
	allowed(t, s, addUser(RootUser), giveRole(RootUser, RootRole), addUser("alice"), authCommand(&pb.AuthRoleAddRequest{Name: "some"}),
		grantKeys("some", authpb.Permission_READ, "r/", "r0"), grantKeys("some", authpb.Permission_WRITE, "w/", "w0"),
		grantKeys("some", authpb.Permission_READWRITE, "b/", "b0"), giveRole("alice", "some"), authCommand(&pb.AuthEnableRequest{}))
	return s
}

func TestAuthChanges(t *testing.T) {
	s := open(t, Options{})
	if s.Auth().Revision() != 1 {
		t.Errorf("revision %d in an empty store, etcd's is 1", s.Auth().Revision())
	}
	refused(t, s, ErrRootUserNotExist, authCommand(&pb.AuthEnableRequest{}))
	allowed(t, s, addUser(RootUser))
	refused(t, s, ErrRootRoleNotExist, authCommand(&pb.AuthEnableRequest{}))
	refused(t, s, ErrUserExists, addUser(RootUser))
	refused(t, s, ErrUserEmpty, addUser(""))
	refused(t, s, ErrUserNotFound, giveRole("bob", RootRole))
	refused(t, s, ErrRoleNotFound, giveRole(RootUser, "some"))
	refused(t, s, ErrRoleEmpty, authCommand(&pb.AuthRoleAddRequest{}))
	refused(t, s, ErrUserNotFound, authCommand(&pb.AuthUserDeleteRequest{Name: "bob"}))
	refused(t, s, ErrUserNotFound, authCommand(&pb.AuthUserChangePasswordRequest{Name: "bob"}))
	refused(t, s, ErrUserNotFound, authCommand(&pb.AuthUserRevokeRoleRequest{Name: "bob", Role: RootRole}))
	refused(t, s, ErrRoleNotGranted, authCommand(&pb.AuthUserRevokeRoleRequest{Name: RootUser, Role: RootRole}))
	refused(t, s, ErrRoleNotFound, authCommand(&pb.AuthRoleDeleteRequest{Role: "some"}))
	refused(t, s, ErrRoleNotFound, grantKeys("some", authpb.Permission_READ, "k", ""))
	refused(t, s, ErrInvalidCommand, authCommand(&pb.AuthUserAddRequest{Name: "bob", Password: "in clear text"}))
	refused(t, s, ErrInvalidCommand, authCommand(&pb.PutRequest{}))
	refused(t, s, ErrInvalidAuthMgmt, authCommand(&pb.AuthUserAddRequest{Name: "bob", HashedPassword: "no base64!"}))

	allowed(t, s, giveRole(RootUser, RootRole), authCommand(&pb.AuthRoleAddRequest{Name: "some"}))
	refused(t, s, ErrRoleExists, authCommand(&pb.AuthRoleAddRequest{Name: "some"}))
	refused(t, s, ErrPermissionNotGiven, authCommand(&pb.AuthRoleGrantPermissionRequest{Name: "some"}))
	refused(t, s, ErrInvalidAuthMgmt, grantKeys("some", authpb.Permission_READ, "", ""))
	refused(t, s, ErrInvalidAuthMgmt, grantKeys("some", authpb.Permission_READ, "b", "a"))
	refused(t, s, ErrInvalidAuthMgmt, grantKeys("some", 7, "a", ""))
	refused(t, s, ErrPermissionNotGranted, authCommand(&pb.AuthRoleRevokePermissionRequest{Role: "some", Key: []byte("k")}))
	before := s.Auth().Revision()
	allowed(t, s, authCommand(&pb.AuthEnableRequest{}), authCommand(&pb.AuthEnableRequest{}))
	if now := s.Auth().Revision(); !s.Auth().Enabled() || now != before {
		t.Errorf("enabled %v at revision %d, before it was %d", s.Auth().Enabled(), now, before)
	}
	refused(t, s, ErrInvalidAuthMgmt, authCommand(&pb.AuthUserDeleteRequest{Name: RootUser}))
	refused(t, s, ErrInvalidAuthMgmt, authCommand(&pb.AuthRoleDeleteRequest{Role: RootRole}))
	refused(t, s, ErrInvalidAuthMgmt, authCommand(&pb.AuthUserRevokeRoleRequest{Name: RootUser, Role: RootRole}))
	allowed(t, s, authCommand(&pb.AuthDisableRequest{}), authCommand(&pb.AuthDisableRequest{}))
	if now := s.Auth().Revision(); s.Auth().Enabled() || now != before+1 {
		t.Errorf("disabled: %v at revision %d, want %d", !s.Auth().Enabled(), now, before+1)
	}
	allowed(t, s, authCommand(&pb.AuthUserDeleteRequest{Name: RootUser}))
}

func TestAuthRoleDeletedFromUsers(t *testing.T) {
	s := withUsers(t, Options{})
	allowed(t, s, s.as("alice", put("w/1", "")), authCommand(&pb.AuthRoleAddRequest{Name: "other"}), giveRole("alice", "other"))
	allowed(t, s, authCommand(&pb.AuthRoleDeleteRequest{Role: "some"}))
	if roles := s.Auth().User("alice").Roles; !slices.Equal(roles, []string{"other"}) {
		t.Errorf("alice has %v", roles)
	}
	refused(t, s, ErrPermissionDenied, s.as("alice", put("w/1", "")))
}

// A permission that is granted again, with another kind, replaces the one before: also when others begin with its key.
func TestAuthPermissionIsReplaced(t *testing.T) {
	s := open(t, Options{})
	allowed(t, s, authCommand(&pb.AuthRoleAddRequest{Name: "r"}), grantKeys("r", authpb.Permission_READ, "a", "c"), grantKeys("r", authpb.Permission_READ, "a", ""),
		grantKeys("r", authpb.Permission_READ, "a", "b"), grantKeys("r", authpb.Permission_WRITE, "a", "b"))
	if got := len(s.Auth().Role("r").KeyPermission); got != 3 {
		t.Errorf("%d permissions, want 3", got)
	}
	allowed(t, s, authCommand(&pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("a"), RangeEnd: []byte("b")}))
	if got := len(s.Auth().Role("r").KeyPermission); got != 2 {
		t.Errorf("%d permissions, want 2", got)
	}
}

func TestAuthSurvivesRestart(t *testing.T) {
	fs := vfs.NewMem()
	s := withUsers(t, Options{FS: fs})
	want := s.Auth()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{FS: fs})
	got := s.Auth()
	if !got.Enabled() || got.Revision() != want.Revision() || !slices.Equal(got.Users(), want.Users()) || !slices.Equal(got.Roles(), want.Roles()) {
		t.Fatalf("%v at %d: %v, %v", got.Enabled(), got.Revision(), got.Users(), got.Roles())
	}
	if !proto.Equal(got.User("alice"), want.User("alice")) || !proto.Equal(got.Role("some"), want.Role("some")) {
		t.Error("alice or her role is another one")
	}
	allowed(t, s, s.as("alice", put("w/1", "")))
	refused(t, s, ErrPermissionDenied, s.as("alice", put("r/1", "")))
}

// TestAuthIsByTheLog: a command is permitted by what was applied before it, in the same entry too.
func TestAuthIsByTheLog(t *testing.T) {
	s := withUsers(t, Options{})
	write := s.as("alice", put("w/1", ""))
	newer := write
	newer.Caller = &Caller{User: "alice", AuthRevision: write.Caller.AuthRevision + 1}
	results := apply(t, s, write, authCommand(&pb.AuthUserRevokeRoleRequest{Name: "alice", Role: "some"}), write, newer)
	for i, want := range []error{nil, nil, ErrAuthOldRevision, ErrPermissionDenied} {
		if !errors.Is(results[i].Err, want) {
			t.Errorf("command %d: %v, want %v", i, results[i].Err, want)
		}
	}
}

func TestAuthOfCommands(t *testing.T) {
	s := withUsers(t, Options{})
	ranges := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
	}
	puts := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put(key, "v").Put}}
	}
	deletes := func(d *pb.DeleteRangeRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d}}
	}
	txn := func(ops ...*pb.RequestOp) Command { return Command{Txn: &pb.TxnRequest{Success: ops}} }
	for name, c := range map[string]struct {
		command Command
		user    string
		want    ErrorCode
	}{
		"no user":                     {put("w/1", ""), "", ErrUserEmpty},
		"unknown user":                {put("w/1", ""), "bob", ErrPermissionDenied},
		"put":                         {put("w/1", ""), "alice", 0},
		"put only readable":           {put("r/1", ""), "alice", ErrPermissionDenied},
		"put by root":                 {put("x", ""), RootUser, 0},
		"put with previous":           {Command{Put: &pb.PutRequest{Key: []byte("w/1"), PrevKv: true}}, "alice", ErrPermissionDenied},
		"readable previous":           {Command{Put: &pb.PutRequest{Key: []byte("b/1"), PrevKv: true}}, "alice", 0},
		"delete range":                {del("w/", "w0"), "alice", 0},
		"delete beyond":               {del("w/", "w1"), "alice", ErrPermissionDenied},
		"delete all":                  {del("w/", "\x00"), "alice", ErrPermissionDenied},
		"delete with previous":        {Command{DeleteRange: &pb.DeleteRangeRequest{Key: []byte("w/1"), PrevKv: true}}, "alice", ErrPermissionDenied},
		"empty txn":                   {txn(), "alice", 0},
		"empty txn of nobody":         {txn(), "", ErrUserEmpty},
		"txn":                         {txn(ranges("r/1"), puts("w/1")), "alice", 0},
		"txn reads":                   {txn(ranges("w/1"), puts("w/1")), "alice", ErrPermissionDenied},
		"txn's other branch":          {Command{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{puts("w/1")}, Failure: []*pb.RequestOp{puts("r/1")}}}, "alice", ErrPermissionDenied},
		"compare":                     {Command{Txn: &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("w/1")}}, Success: []*pb.RequestOp{puts("w/1")}}}, "alice", ErrPermissionDenied},
		"compare of a range":          {Command{Txn: &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("r/1"), RangeEnd: []byte{0}}}, Success: []*pb.RequestOp{puts("w/1")}}}, "alice", ErrPermissionDenied},
		"delete in txn with previous": {txn(deletes(&pb.DeleteRangeRequest{Key: []byte("w/1"), PrevKv: true})), "alice", ErrPermissionDenied},
		"compaction":                  {compact(2), "alice", ErrPermissionDenied},
		"member":                      {Command{Member: &MemberUpdate{Operation: MemberRemove, Member: Member{ID: 1}}}, "alice", ErrPermissionDenied},
		"grant of a lease":            {Command{LeaseGrant: &pb.LeaseGrantRequest{ID: 5, TTL: 10}}, "alice", 0},
		"lease for nobody":            {Command{LeaseGrant: &pb.LeaseGrantRequest{ID: 6, TTL: 10}}, "", ErrUserEmpty},
		"change of users":             {addUser("mallory"), "alice", ErrPermissionDenied},
		"change by nobody":            {addUser("mallory"), "", ErrUserEmpty},
		"change by a stranger":        {addUser("mallory"), "bob", ErrUserNotFound},
		"disabling":                   {authCommand(&pb.AuthDisableRequest{}), "alice", ErrPermissionDenied},
		"somebody else's token":       {authCommand(&pb.InternalAuthenticateRequest{Name: RootUser, SimpleToken: "t"}), "alice", ErrPermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want != 0 {
				refused(t, s, c.want, s.as(c.user, c.command))
				return
			}
			allowed(t, s, s.as(c.user, c.command))
		})
	}
}

// CVE-2026-33343: what is nested in a transaction needs the same rights as what is not.
func TestCVE202633343NestedTxn(t *testing.T) {
	s := withUsers(t, Options{})
	for _, op := range []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestPut{RequestPut: put("secret", "x").Put}},
		{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("secret")}}},
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: del("secret", "").DeleteRange}},
	} {
		for depth := range 3 {
			for _, failure := range []bool{false, true} {
				nested := op
				for range depth + 1 {
					inner := &pb.TxnRequest{Success: []*pb.RequestOp{nested}}
					if failure {
						inner = &pb.TxnRequest{Failure: []*pb.RequestOp{nested}}
					}
					nested = &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: inner}}
				}
				refused(t, s, ErrPermissionDenied, s.as("alice", Command{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{nested}}}))
			}
		}
	}
	nestedCompare := &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("secret")}}}}}
	refused(t, s, ErrPermissionDenied, s.as("alice", Command{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{nestedCompare}}}))
}

// etcd's #21681 and #21685: the previous value and the lease of a put in a transaction were not asked about.
func TestPutInTxnReadsAndAttaches(t *testing.T) {
	s := withUsers(t, Options{})
	allowed(t, s, Command{LeaseGrant: &pb.LeaseGrantRequest{ID: 9, TTL: 60}}, Command{Put: &pb.PutRequest{Key: []byte("secret"), Lease: 9}})
	for _, p := range []*pb.PutRequest{{Key: []byte("w/1"), PrevKv: true}, {Key: []byte("w/1"), Lease: 9}} {
		refused(t, s, ErrPermissionDenied, s.as("alice", Command{Put: p}))
		op := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}}
		for range 2 {
			refused(t, s, ErrPermissionDenied, s.as("alice", Command{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{op}}}))
			op = &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{op}}}}
		}
	}
}

func TestAuthOfLeases(t *testing.T) {
	s := withUsers(t, Options{})
	lease := func(id int64, keys ...string) {
		allowed(t, s, Command{LeaseGrant: &pb.LeaseGrantRequest{ID: id, TTL: 60}})
		for _, k := range keys {
			allowed(t, s, Command{Put: &pb.PutRequest{Key: []byte(k), Lease: id}})
		}
	}
	lease(1, "w/1", "b/1")
	lease(2, "w/2", "secret")
	lease(3)
	revoke := func(id int64) Command { return s.as("alice", Command{LeaseRevoke: &pb.LeaseRevokeRequest{ID: id}}) }
	refused(t, s, ErrPermissionDenied, revoke(2))
	refused(t, s, ErrUserEmpty, s.as("", Command{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 3}}))
	allowed(t, s, revoke(1), revoke(3))
	// A key attached by a command of the same entry counts.
	lease(4)
	attach := Command{Put: &pb.PutRequest{Key: []byte("secret2"), Lease: 4}}
	if r := apply(t, s, attach, revoke(4)); !errors.Is(r[1].Err, ErrPermissionDenied) {
		t.Errorf("revoked with a key attached just before: %v", r[1].Err)
	}
}

// The master's own commands have no caller, and need no rights.
func TestAuthLeavesTheMasterAlone(t *testing.T) {
	s := withUsers(t, Options{})
	allowed(t, s, put("anything", ""), compact(2), del("\x00", "\x00"))
}

func TestCallerRoundTrip(t *testing.T) {
	for _, caller := range []*Caller{nil, Anonymous, {User: "alice", AuthRevision: 1}, {User: "a b\x00c", AuthRevision: 1 << 60}} {
		for _, c := range []Command{put("k", "v"), addUser("bob"), {Member: &MemberUpdate{Operation: MemberRemove, Member: Member{ID: 1}}}} {
			c.Caller = caller
			b, err := c.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeCommand(b)
			if err != nil || fmt.Sprint(got.Caller) != fmt.Sprint(caller) {
				t.Errorf("%v came back as %v, %v", caller, got.Caller, err)
			}
			if !proto.Equal(got.Auth, c.Auth) || !proto.Equal(got.Put, c.Put) {
				t.Errorf("%s came back as %s", printable(c), printable(got))
			}
		}
	}
}

// TestRangeSetModel: a set of ranges covers a range just if it has every key of it.
func TestRangeSetModel(t *testing.T) {
	ends := []string{"a", "a\x00", "b", "c"}
	keys := []string{"a", "a\x00", "a\x00\x00", "b", "b\x00", "c", "c\x00"} // any other is in the same ranges as the one before it
	genRange := rapid.Custom(func(t *rapid.T) keyRange {
		end := rapid.SampledFrom(append([]string{"", "\x00"}, ends...)).Draw(t, "end")
		return newKeyRange([]byte(rapid.SampledFrom(ends).Draw(t, "key")), []byte(end))
	})
	rapid.Check(t, func(t *rapid.T) {
		granted := rapid.SliceOf(genRange).Draw(t, "granted")
		set := newRangeSet(granted)
		asked := genRange.Draw(t, "asked")
		want := true
		for _, key := range keys {
			in := slices.ContainsFunc(granted, func(r keyRange) bool { return r.contains([]byte(key)) })
			first := asked.empty() && string(asked.lo) == key
			if (asked.contains([]byte(key)) || first) && !in {
				want = false
			}
		}
		if got := set.covers(asked); got != want {
			t.Fatalf("%+v covers %+v: %v", set, asked, got)
		}
		for i, r := range set {
			if r.point || r.empty() || i > 0 && compareEnds(set[i-1].hi, r.lo) >= 0 {
				t.Fatalf("%+v is not in order, or touches", set)
			}
		}
	})
}

// While a change becomes visible nobody gets the users and roles, neither those from before nor those from after.
func TestAuthIsNotReadWhileItChanges(t *testing.T) {
	for _, changed := range []bool{true, false} {
		var table authTable
		before, after := newAuthState(), newAuthState()
		table.current.Store(before)
		settle := table.change(after)
		got := make(chan *AuthState)
		go func() { got <- table.get() }()
		select {
		case <-got:
			t.Fatal("it was read while it changed")
		case <-table.current.Load().settled:
			t.Fatal("it is settled already")
		default:
		}
		settle(changed)
		if want := map[bool]*AuthState{true: after, false: before}[changed]; <-got != want || table.get() != want {
			t.Errorf("changed %v: another one was read", changed)
		}
		table.change(table.get())(true) // none
		if table.get().settled != nil {
			t.Error("no change leaves it unsettled")
		}
	}
}
