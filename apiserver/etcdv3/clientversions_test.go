package etcdv3

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// clientRequests are what the metric shows, as "type version".
func clientRequests(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "etcd_server_client_requests_total" {
			continue
		}
		for _, metric := range family.Metric {
			labels := map[string]string{}
			for _, label := range metric.Label {
				labels[label.GetName()] = label.GetValue()
			}
			shown[labels["type"]+" "+labels["client_api_version"]] = metric.GetCounter().GetValue()
		}
	}
	return shown
}

func TestCallsAreCountedByTheirClientsVersion(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	metrics := NewCallMetrics(registry, false)
	metrics.Count(serviceInfo(t))
	c := connect(t, serve(t, newLocalBackend(t), ServerConfig{}, Options{}, metrics.ServerOptions()...))
	for range 2 {
		if _, err := c.Put(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Get(t.Context(), "k", clientv3.WithRev(99)); err == nil {
		t.Fatal("a revision of the future was read")
	}
	<-c.Watch(t.Context(), "k", clientv3.WithRev(1))
	shown := clientRequests(t, registry)
	for series, want := range map[string]float64{
		"unary " + version.APIVersion: 3, "stream " + version.APIVersion: 1, "unary unknown": 0, "stream unknown": 0,
	} {
		if got, ok := shown[series]; !ok || got != want {
			t.Errorf("%s: %v, want %v; all: %v", series, got, want, shown)
		}
	}
}

// TestClientsCantMakeMetrics: neither many nor ill ones, by what they say their version is.
func TestClientsCantMakeMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	versions := newClientVersions(registry)
	from := func(version string) context.Context {
		return metadata.NewIncomingContext(t.Context(), metadata.Pairs(rpctypes.MetadataClientAPIVersionKey, version))
	}
	versions.of(t.Context()).unary.Inc()
	versions.of(from("\xff")).unary.Inc()
	versions.of(from(strings.Repeat("3", maxVersionBytes+1))).unary.Inc()
	for i := range 2 * maxClientVersions {
		versions.of(from(fmt.Sprint("3.", i))).unary.Inc()
	}
	versions.of(from("3.0")).unary.Inc()
	shown := clientRequests(t, registry)
	if len(shown) != 2*(1+maxClientVersions) || shown["unary 3.0"] != 2 || shown["unary unknown"] != 3+maxClientVersions {
		t.Errorf("%d: %v", len(shown), shown)
	}
}
