package etcdv3

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
)

const (
	// maxClientVersions bounds the versions that are told apart, and maxVersionBytes their length: clients write there what they
	// like, and each version is a metric for as long as the process lives.
	maxClientVersions = 64
	maxVersionBytes   = 32
	// unknownVersion is that of the others, and of clients that tell none.
	unknownVersion = "unknown"
)

// clientVersions count calls by the version of the API that their client says it has. A call of a version that was seen before
// costs a look into a map.
type clientVersions struct {
	requests *prometheus.CounterVec

	seen   atomic.Pointer[map[string]*versionRequests] // never changed, but replaced
	adding sync.Mutex                                  // held while it is being replaced
}

// versionRequests are those of one version.
type versionRequests struct{ unary, stream prometheus.Counter }

func newClientVersions(registerer prometheus.Registerer) *clientVersions {
	v := &clientVersions{requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "etcd_server_client_requests_total", Help: "Calls that began, by the version of the API that their client says it has.",
	}, []string{"type", "client_api_version"})}
	registerer.MustRegister(v.requests)
	v.seen.Store(&map[string]*versionRequests{unknownVersion: v.counters(unknownVersion)})
	return v
}

func (v *clientVersions) counters(version string) *versionRequests {
	return &versionRequests{unary: v.requests.WithLabelValues("unary", version), stream: v.requests.WithLabelValues("stream", version)}
}

// of are those of the version that a call's client says it has.
func (v *clientVersions) of(ctx context.Context) *versionRequests {
	version := unknownVersion
	if told := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(told) > 0 {
		version = told[0]
	}
	if have := (*v.seen.Load())[version]; have != nil {
		return have
	}
	return v.add(version)
}

func (v *clientVersions) add(version string) *versionRequests {
	v.adding.Lock()
	defer v.adding.Unlock()
	seen := *v.seen.Load()
	if have := seen[version]; have != nil {
		return have
	}
	if len(seen) > maxClientVersions || len(version) > maxVersionBytes || !utf8.ValidString(version) {
		return seen[unknownVersion]
	}
	more := maps.Clone(seen)
	more[version] = v.counters(version)
	v.seen.Store(&more)
	return more[version]
}
