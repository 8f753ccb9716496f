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
// everything is looked up before the server starts, or when it is first needed: a call costs two looks into maps and five
// additions, and each further message of a stream one.
type CallMetrics struct {
	started, handled, received, sent *prometheus.CounterVec
	seconds                          *prometheus.HistogramVec // nil: calls are not timed
	calls                            map[string]*callMetrics  // by full method; not changed after Count
	versions                         *clientVersions
}

// callMetrics are those of one method.
type callMetrics struct {
	started, received, sent prometheus.Counter
	handled                 [codes.Unauthenticated + 1]prometheus.Counter
	seconds                 prometheus.Observer
}

// NewCallMetrics registers the metrics. Calls are timed, too, when extensive.
func NewCallMetrics(registerer prometheus.Registerer, extensive bool) *CallMetrics {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append(labels[:len(labels):len(labels)], more...))
	}
	m := &CallMetrics{
		started:  counter("grpc_server_started_total", "Calls that began."),
		handled:  counter("grpc_server_handled_total", "Calls that ended, by their code.", "grpc_code"),
		received: counter("grpc_server_msg_received_total", "Messages that clients sent."),
		sent:     counter("grpc_server_msg_sent_total", "Messages that were sent to clients."),
		calls:    map[string]*callMetrics{},
		versions: newClientVersions(registerer),
	}
	registerer.MustRegister(m.started, m.handled, m.received, m.sent)
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
	c := &callMetrics{
		started:  m.started.WithLabelValues(kind, service, method),
		received: m.received.WithLabelValues(kind, service, method),
		sent:     m.sent.WithLabelValues(kind, service, method),
	}
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
	m.versions.of(ctx).unary.Inc()
	c, begun := m.begin(info.FullMethod)
	if c != nil {
		c.received.Inc()
	}
	resp, err := handler(ctx, req)
	if c != nil && err == nil {
		c.sent.Inc()
	}
	c.end(begun, err)
	return resp, err
}

func (m *CallMetrics) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	m.versions.of(stream.Context()).stream.Inc()
	c, begun := m.begin(info.FullMethod)
	if c != nil {
		stream = &countedStream{stream, c}
	}
	err := handler(srv, stream)
	c.end(begun, err)
	return err
}

// countedStream counts a stream's messages.
type countedStream struct {
	grpc.ServerStream
	call *callMetrics
}

// RecvMsg implements grpc.ServerStream.
func (s *countedStream) RecvMsg(message any) error {
	err := s.ServerStream.RecvMsg(message)
	if err == nil {
		s.call.received.Inc()
	}
	return err
}

// SendMsg implements grpc.ServerStream.
func (s *countedStream) SendMsg(message any) error {
	err := s.ServerStream.SendMsg(message)
	if err == nil {
		s.call.sent.Inc()
	}
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
