package recipes

import (
	"context"
	"errors"
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"go.etcd.io/etcd/client/v3/ordering"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func TestNamespace(t *testing.T) {
	ctx, _, c := three(t)
	inner, watcher, lessor := namespace.NewKV(c.KV, "ns/"), namespace.NewWatcher(c.Watcher, "ns/"), namespace.NewLease(c.Lease, "ns/")
	events := watcher.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	lease := ok[*clientv3.LeaseGrantResponse](t)(lessor.Grant(ctx, 60))
	ok[*clientv3.PutResponse](t)(inner.Put(ctx, "a", "1", clientv3.WithLease(lease.ID)))
	ok[*clientv3.PutResponse](t)(c.Put(ctx, "a", "outside"))
	if r := <-events; len(r.Events) != 1 || string(r.Events[0].Kv.Key) != "a" {
		t.Errorf("watched %v", r)
	}
	if r := ok[*clientv3.GetResponse](t)(c.Get(ctx, "ns/a")); len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "1" {
		t.Errorf("outside %v", r.Kvs)
	}
	if r := ok[*clientv3.GetResponse](t)(inner.Get(ctx, "", clientv3.WithFromKey())); len(r.Kvs) != 1 {
		t.Errorf("inside %v", r.Kvs)
	}
	if left := ok[*clientv3.LeaseTimeToLiveResponse](t)(lessor.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())); len(left.Keys) != 1 || string(left.Keys[0]) != "a" {
		t.Errorf("attached %q", left.Keys)
	}
}

// A client that caches by lease sees each write of others.
func TestLeasing(t *testing.T) {
	ctx, members, c := three(t)
	cached := make([]clientv3.KV, 2)
	for i := range cached {
		kv, end, err := leasing.NewKV(members.Connect(members.Members[i]), "leases/")
		must(t, err)
		defer end()
		cached[i] = kv
	}
	for n := range 5 {
		value := fmt.Sprint(n)
		ok[*clientv3.PutResponse](t)(cached[n%2].Put(ctx, "k", value))
		for i, kv := range cached {
			if r := ok[*clientv3.GetResponse](t)(kv.Get(ctx, "k")); len(r.Kvs) != 1 || string(r.Kvs[0].Value) != value {
				t.Errorf("cache %d has %v, want %s", i, r.Kvs, value)
			}
		}
	}
	r := ok[*clientv3.TxnResponse](t)(cached[0].Txn(ctx).If(clientv3.Compare(clientv3.Value("k"), "=", "4")).Then(clientv3.OpPut("k", "txn")).Commit())
	if got := ok[*clientv3.GetResponse](t)(cached[1].Get(ctx, "k")); !r.Succeeded || string(got.Kvs[0].Value) != "txn" {
		t.Errorf("%v, %v", r, got.Kvs)
	}
	ok[*clientv3.DeleteResponse](t)(cached[1].Delete(ctx, "k"))
	if got := ok[*clientv3.GetResponse](t)(cached[0].Get(ctx, "k")); len(got.Kvs) != 0 {
		t.Errorf("deleted %v", got.Kvs)
	}
	_ = c
}

func TestMirror(t *testing.T) {
	ctx, _, c := three(t)
	const keys = 2500 // more than one page
	for i := 0; i < keys; i += 100 {
		var ops []clientv3.Op
		for n := range 100 {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("mirror/%05d", i+n), "v"))
		}
		ok[*clientv3.TxnResponse](t)(c.Txn(ctx).Then(ops...).Commit())
	}
	s := mirror.NewSyncer(c, "mirror/", 0)
	pages, errs := s.SyncBase(ctx)
	seen := 0
	for page := range pages {
		seen += len(page.Kvs)
	}
	must(t, <-errs)
	if seen != keys {
		t.Errorf("%d keys mirrored", seen)
	}
	updates := s.SyncUpdates(ctx)
	ok[*clientv3.PutResponse](t)(c.Put(ctx, "mirror/new", "v"))
	if r := <-updates; len(r.Events) != 1 || string(r.Events[0].Kv.Key) != "mirror/new" {
		t.Errorf("updated %v", r)
	}
}

// A client that has seen a revision is not shown an older one by another master.
func TestOrdering(t *testing.T) {
	ctx, members, c := three(t)
	violations := 0
	kv := ordering.NewKV(c.KV, func(clientv3.Op, clientv3.OpResponse, int64) error { violations++; return errors.New("older") })
	for i := range 20 {
		put := ok[*clientv3.PutResponse](t)(kv.Put(ctx, "k", fmt.Sprint(i)))
		if r := ok[*clientv3.GetResponse](t)(kv.Get(ctx, "k")); r.Header.Revision < put.Header.Revision || string(r.Kvs[0].Value) != fmt.Sprint(i) {
			t.Errorf("after revision %d: %v", put.Header.Revision, r)
		}
	}
	if violations != 0 {
		t.Errorf("%d answers were older than what was seen", violations)
	}
	switching := members.Connect()
	solved := ordering.NewKV(switching.KV, ordering.NewOrderViolationSwitchEndpointClosure(switching))
	for range 10 {
		ok[*clientv3.GetResponse](t)(solved.Get(ctx, "k", clientv3.WithSerializable()))
	}
}

// gRPC clients find a service by its name, and follow its changes.
func TestNaming(t *testing.T) {
	ctx, members, c := three(t)
	manager := ok[endpoints.Manager](t)(endpoints.NewManager(c, "service"))
	updates := ok[endpoints.WatchChannel](t)(manager.NewWatchChannel(ctx))
	add := func(m int) {
		t.Helper()
		must(t, manager.AddEndpoint(ctx, fmt.Sprint("service/", m), endpoints.Endpoint{Addr: members.Members[m].Client}))
	}
	add(0)
	if u := <-updates; len(u) != 1 || u[0].Op != endpoints.Add || u[0].Endpoint.Addr != members.Members[0].Client {
		t.Errorf("update %v", u)
	}
	add(1)
	for all := (endpoints.Key2EndpointMap{}); len(all) != 2; { // it asks for no more than what a master happens to have
		all = ok[endpoints.Key2EndpointMap](t)(manager.List(ctx))
	}
	by, err := resolver.NewBuilder(c)
	must(t, err)
	conn := ok[*grpc.ClientConn](t)(grpc.NewClient("etcd:///service", grpc.WithResolvers(by), grpc.WithTransportCredentials(insecure.NewCredentials())))
	defer conn.Close()
	if r, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("by name: %v, %v", r, err)
	}
	must(t, manager.DeleteEndpoint(context.WithoutCancel(ctx), "service/0"))
}
