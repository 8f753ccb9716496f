package probe

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestGRPCProbe(t *testing.T) {
	serve := func(register func(*grpc.Server)) int32 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		register(server)
		done := make(chan struct{})
		go func() { defer close(done); _ = server.Serve(listener) }()
		t.Cleanup(func() { server.Stop(); <-done })
		return int32(listener.Addr().(*net.TCPAddr).Port)
	}
	states := health.NewServer()
	states.SetServingStatus("well", healthpb.HealthCheckResponse_SERVING)
	states.SetServingStatus("ill", healthpb.HealthCheckResponse_NOT_SERVING)
	port := serve(func(s *grpc.Server) { healthpb.RegisterHealthServer(s, states) })
	mute := serve(func(*grpc.Server) {})
	for name, c := range map[string]struct {
		action corev1.GRPCAction
		want   string // in the error; empty: none
	}{
		"the server":            {corev1.GRPCAction{Port: port}, ""},
		"a service":             {corev1.GRPCAction{Port: port, Service: ptr.To("well")}, ""},
		"an ill service":        {corev1.GRPCAction{Port: port, Service: ptr.To("ill")}, `responded with "NOT_SERVING"`},
		"an unknown service":    {corev1.GRPCAction{Port: port, Service: ptr.To("other")}, "unknown service"},
		"no health protocol":    {corev1.GRPCAction{Port: mute}, "does not implement the grpc health protocol"},
		"TLS where there isn't": {corev1.GRPCAction{Port: port, Mode: ptr.To(corev1.GRPCProbeModeTLS)}, "tls"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := Target{IP: "127.0.0.1"}.For(corev1.ProbeHandler{GRPC: &c.action})(ctx)
		cancel()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}
