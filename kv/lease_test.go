package kv

import (
	"errors"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func grant(id, ttl int64) Command {
	return Command{LeaseGrant: &pb.LeaseGrantRequest{ID: id, TTL: ttl}}
}

func revoke(id int64) Command { return Command{LeaseRevoke: &pb.LeaseRevokeRequest{ID: id}} }

func leased(key string, lease int64) Command {
	return Command{Put: &pb.PutRequest{Key: []byte(key), Lease: lease}}
}

func TestLeases(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	// Within one entry: granted, used, revoked, granted again.
	results := apply(t, s, grant(1, 10), leased("a", 1), leased("b", 1), revoke(1), leased("c", 1), grant(1, 1), leased("b", 1), grant(1, 5), grant(0, 5), grant(-3, 7))
	for i, want := range []error{nil, nil, nil, nil, ErrLeaseNotFound, nil, nil, ErrLeaseExists, ErrLeaseNotFound, nil} {
		if !errors.Is(results[i].Err, want) {
			t.Errorf("%d: %v, want %v", i, results[i].Err, want)
		}
	}
	if g := results[5].Response.(*pb.LeaseGrantResponse); g.TTL != MinLeaseTTL || g.ID != 1 {
		t.Errorf("granted %v", g)
	}
	// A lease is left by a put with another one or none, and by a delete.
	apply(t, s, leased("c", 1), leased("d", 1), leased("e", 1), put("c", ""), leased("d", -3), del("e", ""))
	for range 2 {
		one, err := s.LeaseKeys(1)
		other, err2 := s.LeaseKeys(-3)
		if errors.Join(err, err2) != nil || !reflect.DeepEqual(one, [][]byte{[]byte("b")}) || !reflect.DeepEqual(other, [][]byte{[]byte("d")}) {
			t.Errorf("keys %q and %q", one, other)
		}
		if l := s.Leases(); len(l) != 2 || l[0].ID != -3 || l[1].ID != 1 {
			t.Errorf("leases %v", l)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, Options{FS: fs})
	}
	if id := s.ChooseLeaseID(); id <= 0 || errors.Is(apply(t, s, grant(id, 5))[0].Err, ErrLeaseExists) {
		t.Errorf("chose %d", id)
	}
}

func TestMembers(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	update := func(op MemberOperation, id uint64, name string) Command {
		return Command{Member: &MemberUpdate{Operation: op, Member: Member{ID: id, Name: name, PeerURLs: []string{"https://" + name}, IsLearner: id == 2, APIURLs: []string{"x"}}}}
	}
	for i, r := range apply(t, s,
		update(MemberAdd, 2, "two"), update(MemberAdd, 2, "two"), update(MemberUpdateExisting, 3, "three"), update(MemberSet, 3, "three"),
		update(MemberUpdateExisting, 3, "drei"), update(MemberRemove, 4, ""), update(MemberAdd, 1, "one"), update(MemberRemove, 1, ""), update(MemberSet, 1, "one")) {
		if want := []error{nil, ErrMemberExists, ErrMemberNotFound, nil, nil, ErrMemberNotFound, nil, nil, ErrMemberRemoved}[i]; !errors.Is(r.Err, want) {
			t.Errorf("%d: %v, want %v", i, r.Err, want)
		}
	}
	for range 2 {
		m := s.Members()
		want := []Member{
			{ID: 2, Name: "two", PeerURLs: []string{"https://two"}, IsLearner: true, APIURLs: []string{"x"}},
			{ID: 3, Name: "drei", PeerURLs: []string{"https://drei"}, APIURLs: []string{"x"}},
		}
		if !reflect.DeepEqual(m, want) || !s.MemberRemoved(1) || s.MemberRemoved(2) {
			t.Errorf("members %+v", m)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, Options{FS: fs})
	}
}
