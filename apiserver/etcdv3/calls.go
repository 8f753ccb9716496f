package etcdv3

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// CallMetrics count a server's calls, under the names that etcd's have.
//
// The library that those names come from (go-grpc-middleware) makes labels, and looks them up, several times a call. Here
// everything is looked up before the server starts: a call costs one look into a map and two additions.
type CallMetrics struct {
	started, handled *prometheus.CounterVec
	seconds          *prometheus.HistogramVec // nil: calls are not timed
	calls            map[string]*callMetrics  // by full method; not changed after Count
}

// callMetrics are those of one method.
type callMetrics struct {
	started prometheus.Counter
	handled [codes.Unauthenticated + 1]prometheus.Counter
	seconds prometheus.Observer
}

// NewCallMetrics registers the metrics. Calls are timed, too, when extensive.
func NewCallMetrics(registerer prometheus.Registerer, extensive bool) *CallMetrics {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	m := &CallMetrics{
		started: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "grpc_server_started_total", Help: "Calls that began."}, labels),
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "grpc_server_handled_total", Help: "Calls that ended, by their code."},
			append(labels[:len(labels):len(labels)], "grpc_code")),
		calls: map[string]*callMetrics{},
	}
	registerer.MustRegister(m.started, m.handled)
	if extensive {
		m.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "grpc_server_handling_seconds", Help: "How long calls took.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 18)}, labels)
		registerer.MustRegister(m.seconds)
	}
	return m
}

// ServerOptions have a server's calls counted. They come before any others that have interceptors, so that refused calls count.
func (m *CallMetrics) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(m.unary), grpc.ChainStreamInterceptor(m.stream)}
}

// Count makes the counters of every method of a server, which must have all its services and not serve yet.
func (m *CallMetrics) Count(server interface {
	GetServiceInfo() map[string]grpc.ServiceInfo
}) {
	for service, info := range server.GetServiceInfo() {
		for _, method := range info.Methods {
			m.calls["/"+service+"/"+method.Name] = m.of(kindOf(method), service, method.Name)
		}
	}
}

func (m *CallMetrics) of(kind, service, method string) *callMetrics {
	c := &callMetrics{started: m.started.WithLabelValues(kind, service, method)}
	for code := range c.handled {
		c.handled[code] = m.handled.WithLabelValues(kind, service, method, codes.Code(code).String())
	}
	if m.seconds != nil {
		c.seconds = m.seconds.WithLabelValues(kind, service, method)
	}
	return c
}

func kindOf(method grpc.MethodInfo) string {
	switch {
	case method.IsClientStream && method.IsServerStream:
		return "bidi_stream"
	case method.IsClientStream:
		return "client_stream"
	case method.IsServerStream:
		return "server_stream"
	}
	return "unary"
}

func (m *CallMetrics) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	c, begun := m.begin(info.FullMethod)
	resp, err := handler(ctx, req)
	c.end(begun, err)
	return resp, err
}

func (m *CallMetrics) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	c, begun := m.begin(info.FullMethod)
	err := handler(srv, stream)
	c.end(begun, err)
	return err
}

// begin returns nil for a method that is not counted.
func (m *CallMetrics) begin(fullMethod string) (*callMetrics, time.Time) {
	c := m.calls[fullMethod]
	if c == nil {
		return nil, time.Time{}
	}
	c.started.Inc()
	if c.seconds == nil {
		return c, time.Time{}
	}
	return c, time.Now()
}

func (c *callMetrics) end(begun time.Time, err error) {
	if c == nil {
		return
	}
	c.handled[codeOf(err)].Inc()
	if c.seconds != nil {
		c.seconds.Observe(time.Since(begun).Seconds())
	}
}

func codeOf(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	if s.Code() > codes.Unauthenticated {
		return codes.Unknown
	}
	return s.Code()
}
