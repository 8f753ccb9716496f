package etcdv3

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// services stands in for a server that has all services.
type services map[string]grpc.ServiceInfo

func (s services) GetServiceInfo() map[string]grpc.ServiceInfo { return s }

// serviceInfo is what a server with the services has.
func serviceInfo(t testing.TB) services {
	t.Helper()
	server := grpc.NewServer()
	Register(server, newLocalBackend(t), Options{})
	return server.GetServiceInfo()
}

// count is a counter's value.
func count(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestCallsAreCounted(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	metrics := NewCallMetrics(registry, true)
	metrics.Count(serviceInfo(t))
	c := connect(t, serve(t, newLocalBackend(t), ServerConfig{}, Options{}, metrics.ServerOptions()...))
	if _, err := c.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "k", clientv3.WithRev(99)); err == nil {
		t.Fatal("a revision of the future was read")
	}
	watching, cancel := context.WithCancel(t.Context())
	<-c.Watch(watching, "k", clientv3.WithRev(1))
	cancel()
	// A message is counted once it is sent, when the client may have it already.
	until(t, "the event is counted", func() bool {
		return count(t, metrics.calls["/etcdserverpb.Watch/Watch"].sent) >= 2
	})
	for name, want := range map[string]struct{ received, sent float64 }{
		"KV/Put": {1, 1}, "KV/Range": {1, 0},
		"Watch/Watch": {1, 2}, // it is asked for; it is there, and has an event
	} {
		of := metrics.calls["/etcdserverpb."+name]
		if got := count(t, of.started); got != 1 {
			t.Errorf("%s: %v calls began", name, got)
		}
		if received, sent := count(t, of.received), count(t, of.sent); received != want.received || sent != want.sent {
			t.Errorf("%s: %v messages were received, %v sent, want %v", name, received, sent, want)
		}
	}
	if got := count(t, metrics.calls["/etcdserverpb.KV/Range"].handled[codes.OutOfRange]); got != 1 {
		t.Errorf("%v ranges were out of range", got)
	}
	if _, err := registry.Gather(); err != nil {
		t.Error(err)
	}
}

// BenchmarkCallMetrics is what counting adds to a call.
func BenchmarkCallMetrics(b *testing.B) {
	for name, extensive := range map[string]bool{"basic": false, "extensive": true} {
		b.Run(name, func(b *testing.B) {
			metrics := NewCallMetrics(prometheus.NewRegistry(), extensive)
			metrics.Count(serviceInfo(b))
			ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs(rpctypes.MetadataClientAPIVersionKey, "3.7"))
			info := &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/Put"}
			handler := func(context.Context, any) (any, error) { return nil, nil }
			b.ReportAllocs()
			for b.Loop() {
				_, _ = metrics.unary(ctx, nil, info, handler)
			}
		})
	}
}
