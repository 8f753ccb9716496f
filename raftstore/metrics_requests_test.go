package raftstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/statemachine"
)

// series are a family's metrics, by the values of their labels.
func (m *testMember) series(name string) map[string]*dto.Metric {
	m.cluster.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m.Metrics())
	families, err := registry.Gather()
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	found := map[string]*dto.Metric{}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.Metric {
			var values []string
			for _, label := range metric.Label {
				values = append(values, label.GetName()+"="+label.GetValue())
			}
			found[strings.Join(values, " ")] = metric
		}
	}
	return found
}

// observed is how many times a histogram has seen something, by the values of its labels.
func (m *testMember) observed(name string) map[string]uint64 {
	m.cluster.t.Helper()
	counts := map[string]uint64{}
	for labels, metric := range m.series(name) {
		if metric.Histogram == nil {
			m.cluster.t.Errorf("%s{%s} is no histogram", name, labels)
		}
		counts[labels] = metric.GetHistogram().GetSampleCount()
	}
	return counts
}

func TestMetricsOfRequests(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	m, ctx := c.members[0], testContext(t)
	const applies, requests, ranges = "etcd_server_apply_duration_seconds", "etcd_server_request_duration_seconds", "etcd_server_range_duration_seconds"
	// Other parts of the member propose as well, but none of what is counted here.
	more := func(do func()) map[string]uint64 {
		before, seen := map[string]uint64{}, map[string]uint64{}
		for _, name := range []string{applies, requests, ranges} {
			for labels, n := range m.observed(name) {
				before[name+" "+labels] = n
			}
		}
		do()
		for _, name := range []string{applies, requests, ranges} {
			for labels, n := range m.observed(name) {
				if key := name + " " + labels; n > before[key] && !strings.Contains(labels, "ClusterMemberAttrSet") {
					seen[key] = n - before[key]
				}
			}
		}
		return seen
	}
	key := &pb.RangeRequest{Key: []byte("key")}
	gone, giveUp := context.WithCancel(ctx)
	giveUp()
	for _, step := range []struct {
		what string
		do   func() error
		want map[string]uint64
	}{
		{"a put", func() error { _, err := m.Put(ctx, &pb.PutRequest{Key: []byte("key")}); return err },
			map[string]uint64{applies + " op=Put success=true version=v3": 1, requests + " success=true type=Put": 1}},
		{"a put with a lease that is not there", func() error {
			_, err := m.Put(ctx, &pb.PutRequest{Key: []byte("key"), Lease: 99})
			return wantError(err)
		}, map[string]uint64{applies + " op=Put success=false version=v3": 1, requests + " success=true type=Put": 1}},
		{"a command that nobody waits for any more", func() error {
			done := make(chan error, 1)
			m.ProposeAsync(gone, kv.Command{Put: &pb.PutRequest{Key: []byte("key")}}, func(_ kv.Result, err error) { done <- err })
			return wantError(<-done)
		}, map[string]uint64{requests + " success=false type=Put": 1}},
		{"a transaction", func() error {
			_, err := m.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("key")}}}}})
			return err
		}, map[string]uint64{applies + " op=Txn success=true version=v3": 1, requests + " success=true type=Txn": 1}},
		{"a transaction that reads", func() error {
			_, err := m.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: key}}}})
			return err
		}, map[string]uint64{requests + " success=true type=ReadonlyTxn": 1}},
		{"a range", func() error { _, err := m.Range(ctx, key); return err },
			map[string]uint64{ranges + " success=true": 1, requests + " success=true type=Range": 1}},
		{"a range of the future", func() error {
			_, err := m.Range(ctx, &pb.RangeRequest{Key: []byte("key"), Revision: 99})
			return wantError(err)
		}, map[string]uint64{ranges + " success=false": 1, requests + " success=false type=Range": 1}},
		{"a range in chunks", func() error {
			return m.RangeStream(ctx, key, 1<<20, func(*pb.RangeResponse) error { return nil })
		}, map[string]uint64{ranges + " success=true": 1}},
		{"a compaction", func() error { _, err := m.Compact(ctx, &pb.CompactionRequest{Revision: 3}); return err },
			map[string]uint64{applies + " op=Compaction success=true version=v3": 1, requests + " success=true type=Compaction": 1}},
		{"one that was done before", func() error { _, err := m.Compact(ctx, &pb.CompactionRequest{Revision: 2}); return wantError(err) },
			map[string]uint64{applies + " op=Compaction success=true version=v3": 1, requests + " success=true type=Compaction": 1}},
	} {
		var err error
		got := more(func() { err = step.do() })
		if err != nil {
			t.Errorf("%s: %v", step.what, err)
		}
		for series, n := range step.want {
			if got[series] != n {
				t.Errorf("%s: %s has seen %d more, want %d", step.what, series, got[series], n)
			}
		}
		for series, n := range got {
			if step.want[series] == 0 {
				t.Errorf("%s: %s has seen %d more, want none", step.what, series, n)
			}
		}
	}
	for name, last := range map[string]float64{applies: 0.0001 * (1 << 19), requests: 0.001 * (1 << 13), ranges: 0.0001 * (1 << 19)} {
		for labels, metric := range m.series(name) {
			buckets := metric.GetHistogram().GetBucket()
			if bound := buckets[len(buckets)-1].GetUpperBound(); bound != last {
				t.Errorf("%s{%s}: the last bucket is %v, etcd's %v", name, labels, bound, last)
			}
		}
	}
}

// TestForwardedRequestsAreCountedOnce: by the member that was asked, while all of them apply what it proposed.
func TestForwardedRequestsAreCountedOnce(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, follower := c.leader(), c.follower()
	follower.put("key", "value")
	for _, m := range []*testMember{leader, follower} {
		m.wantValue("key", "value")
		if n := m.observed("etcd_server_apply_duration_seconds")["op=Put success=true version=v3"]; n != 1 {
			t.Errorf("%s has applied %d puts, want 1", m.config.Identity.Name, n)
		}
		want := map[bool]uint64{true: 1, false: 0}[m == follower]
		if n := m.observed("etcd_server_request_duration_seconds")["success=true type=Put"]; n != want {
			t.Errorf("%s was asked for %d puts, want %d", m.config.Identity.Name, n, want)
		}
	}
}

// wantError has an error that has to be.
func wantError(err error) error {
	if err == nil {
		return errors.New("there was no error")
	}
	return nil
}

// TestOperationsHaveEtcdsNames: of every command that there is.
func TestOperationsHaveEtcdsNames(t *testing.T) {
	named := []string{opRange, opReadTxn}
	for want, command := range map[string]kv.Command{
		"Put": {Put: &pb.PutRequest{}}, "DeleteRange": {DeleteRange: &pb.DeleteRangeRequest{}}, "Txn": {Txn: &pb.TxnRequest{}},
		"Compaction": {Compact: &pb.CompactionRequest{}}, "LeaseGrant": {LeaseGrant: &pb.LeaseGrantRequest{}},
		"LeaseRevoke": {LeaseRevoke: &pb.LeaseRevokeRequest{}}, "LeaseCheckpoint": {LeaseCheckpoint: &pb.LeaseCheckpointRequest{}},
		"Alarm": {Alarm: &pb.AlarmRequest{}}, "DowngradeInfoSet": {Downgrade: &pb.DowngradeRequest{}},
		"ClusterMemberAttrSet": {Member: &kv.MemberUpdate{Operation: kv.MemberUpdateExisting}},
		"MemberAdd":            {Member: &kv.MemberUpdate{Operation: kv.MemberAdd}}, "MemberRemove": {Member: &kv.MemberUpdate{Operation: kv.MemberRemove}},
		"AuthEnable": auth(&pb.AuthEnableRequest{}), "AuthDisable": auth(&pb.AuthDisableRequest{}),
		"AuthUserAdd": auth(&pb.AuthUserAddRequest{}), "AuthUserDelete": auth(&pb.AuthUserDeleteRequest{}),
		"AuthUserChangePassword": auth(&pb.AuthUserChangePasswordRequest{}), "AuthUserGrantRole": auth(&pb.AuthUserGrantRoleRequest{}),
		"AuthUserRevokeRole": auth(&pb.AuthUserRevokeRoleRequest{}), "AuthRoleAdd": auth(&pb.AuthRoleAddRequest{}),
		"AuthRoleDelete": auth(&pb.AuthRoleDeleteRequest{}), "AuthRoleGrantPermission": auth(&pb.AuthRoleGrantPermissionRequest{}),
		"AuthRoleRevokePermission": auth(&pb.AuthRoleRevokePermissionRequest{}), "Authenticate": auth(&pb.InternalAuthenticateRequest{}),
	} {
		if got := operationOf(&command); got != want {
			t.Errorf("%s is named %s", want, got)
		}
		named = append(named, want)
	}
	slices.Sort(named)
	if all := slices.Sorted(slices.Values(operations)); !slices.Equal(all, named) {
		t.Errorf("there are %v, of which commands have %v", all, named)
	}
}

func auth(m proto.Message) kv.Command { return kv.Command{Auth: m} }

// BenchmarkCarriedOut is what counting adds to a command: to one of many puts, and to a transaction.
func BenchmarkCarriedOut(b *testing.B) {
	i := newInstruments()
	for name, timing := range map[string]statemachine.Timing{
		"puts": {Command: &kv.Command{Put: &pb.PutRequest{}}, Count: 100, Each: time.Microsecond},
		"txn":  {Command: &kv.Command{Txn: &pb.TxnRequest{}}, Count: 1, Each: time.Microsecond},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; n < b.N; n += timing.Count {
				i.carriedOut(timing)
			}
		})
	}
}
