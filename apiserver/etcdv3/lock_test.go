package etcdv3

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/v3electionpb"
	"github.com/ctlplane/ctlplane/api/v3lockpb"
)

func lease(t testing.TB, c *clientv3.Client) int64 {
	t.Helper()
	granted, err := c.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	return int64(granted.ID)
}

// inLine waits until n contenders are in line.
func inLine(t testing.TB, c *clientv3.Client, prefix string, n int) {
	t.Helper()
	events := c.Watch(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithRev(1))
	for keys := map[string]bool{}; len(keys) != n; {
		for _, e := range (<-events).Events {
			if e.Type == clientv3.EventTypePut {
				keys[string(e.Kv.Key)] = true
			}
		}
	}
}

// One owner at a time, in the order of asking; clients of the library stand in the same line.
func TestLock(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	locks := v3lockpb.NewLockClient(c.ActiveConnection())
	first, second := lease(t, c), lease(t, c)
	held, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l"), Lease: first})
	if err != nil || string(held.Key) != fmt.Sprintf("l/%x", first) || held.Header.Revision != 2 {
		t.Fatal(held, err)
	}
	if again, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l"), Lease: first}); err != nil || string(again.Key) != string(held.Key) {
		t.Errorf("the owner asks again: %v, %v", again, err)
	}
	waiting := make(chan *v3lockpb.LockResponse, 1)
	go func() {
		got, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l"), Lease: second})
		if err != nil {
			t.Error(err)
		}
		waiting <- got
	}()
	inLine(t, c, "l/", 2)
	session, err := concurrency.NewSession(c)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	mutex := concurrency.NewMutex(session, "l")
	if err := mutex.TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Errorf("a lock that is held: %v", err)
	}
	if _, err := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: held.Key}); err != nil {
		t.Fatal(err)
	}
	got := <-waiting
	if _, err := c.Revoke(ctx, clientv3.LeaseID(second)); err != nil {
		t.Fatal(err)
	}
	if err := mutex.Lock(ctx); err != nil {
		t.Errorf("after %s has lost its lease: %v", got.Key, err)
	}
}

// Who gives up waiting, or has lost his lease meanwhile, is not in line any more.
func TestLockGivenUp(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	locks := v3lockpb.NewLockClient(c.ActiveConnection())
	held, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l")})
	if err != nil {
		t.Fatal(err)
	}
	impatient, giveUp := context.WithCancel(ctx)
	outcomes := make(chan error, 2)
	wait := func(ctx context.Context, lease int64) {
		_, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l"), Lease: lease})
		outcomes <- err
	}
	gone := lease(t, c)
	go wait(impatient, lease(t, c))
	inLine(t, c, "l/", 2)
	go wait(ctx, gone)
	inLine(t, c, "l/", 3)
	events := c.Watch(ctx, "l/", clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	<-events
	giveUp()
	if err := <-outcomes; status.Code(err) != codes.Canceled {
		t.Errorf("given up: %v", err)
	}
	take(t, events, 1) // its key is gone
	if _, err := c.Revoke(ctx, clientv3.LeaseID(gone)); err != nil {
		t.Fatal(err)
	}
	if _, err := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: held.Key}); err != nil {
		t.Fatal(err)
	}
	if err := <-outcomes; err == nil || !strings.Contains(err.Error(), errSessionExpired.Error()) {
		t.Errorf("without its lease: %v", err)
	}
	if _, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l"), Lease: 12345}); err == nil || !strings.Contains(err.Error(), "lease not found") {
		t.Errorf("a lease that is not there: %v", err)
	}
}

func TestElection(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	elections := v3electionpb.NewElectionClient(c.ActiveConnection())
	name := []byte("e")
	if _, err := elections.Leader(ctx, &v3electionpb.LeaderRequest{Name: name}); err == nil || !strings.Contains(err.Error(), errNoElected.Error()) {
		t.Errorf("nobody leads: %v", err)
	}
	observed, err := elections.Observe(ctx, &v3electionpb.LeaderRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	sees := func(want string) {
		t.Helper()
		r, err := observed.Recv()
		if err != nil || string(r.Kv.Value) != want {
			t.Fatalf("observed %v, %v; want %s", r, err, want)
		}
	}
	won, err := elections.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: lease(t, c), Value: []byte("one")})
	if err != nil {
		t.Fatal(err)
	}
	sees("one")
	next := make(chan *v3electionpb.CampaignResponse, 1)
	go func() {
		won, err := elections.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: lease(t, c), Value: []byte("two")})
		if err != nil {
			t.Error(err)
		}
		next <- won
	}()
	inLine(t, c, "e/", 2)
	if _, err := elections.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: won.Leader, Value: []byte("one still")}); err != nil {
		t.Fatal(err)
	}
	sees("one still")
	if leads, err := elections.Leader(ctx, &v3electionpb.LeaderRequest{Name: name}); err != nil || string(leads.Kv.Value) != "one still" || leads.Kv.CreateRevision != won.Leader.Rev {
		t.Errorf("leader %v, %v", leads, err)
	}
	if _, err := elections.Resign(ctx, &v3electionpb.ResignRequest{Leader: won.Leader}); err != nil {
		t.Fatal(err)
	}
	sees("two")
	if second := <-next; second.Leader.Lease == won.Leader.Lease {
		t.Error("the one who resigned leads again")
	}
	if _, err := elections.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: won.Leader}); err == nil || !strings.Contains(err.Error(), errNotLeader.Error()) {
		t.Errorf("proclaimed without leading: %v", err)
	}
	for _, err := range []error{
		errorOf(elections.Proclaim(ctx, &v3electionpb.ProclaimRequest{})), errorOf(elections.Resign(ctx, &v3electionpb.ResignRequest{})),
	} {
		if err == nil || !strings.Contains(err.Error(), errLeaderNotGiven.Error()) {
			t.Errorf("without a leader: %v", err)
		}
	}
}

func errorOf[T any](_ T, err error) error { return err }

// Tools that know nothing of etcd find its services, and their messages.
func TestReflection(t *testing.T) {
	s, err := reflectionpb.NewServerReflectionClient(newClient(t).ActiveConnection()).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(r *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		t.Helper()
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
		answer, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	list := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}).String()
	for _, service := range []string{"etcdserverpb.KV", "etcdserverpb.Watch", "v3lockpb.Lock", "v3electionpb.Election"} {
		if !strings.Contains(list, service) {
			t.Errorf("%s is not listed", service)
		}
		found := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service}})
		if found.GetErrorResponse() != nil {
			t.Errorf("%s: %v", service, found.GetErrorResponse())
		}
	}
}
