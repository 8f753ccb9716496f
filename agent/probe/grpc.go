package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// grpc asks the server in the container for its health, by gRPC's own protocol for that.
func (t Target) grpc(action *corev1.GRPCAction) Check {
	return func(ctx context.Context) error {
		transport := insecure.NewCredentials()
		if ptr.Deref(action.Mode, corev1.GRPCProbeModePlaintext) == corev1.GRPCProbeModeTLS {
			transport = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}) // as with HTTPS, who it is doesn't matter
		}
		address := net.JoinHostPort(t.IP, strconv.Itoa(int(action.Port)))
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(transport),
			grpc.WithUserAgent(userAgent), grpc.WithNoProxy(), grpc.WithDisableServiceConfig())
		if err != nil {
			return err
		}
		defer conn.Close()
		answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: ptr.Deref(action.Service, "")}, grpc.WaitForReady(false))
		switch {
		case status.Code(err) == codes.Unimplemented:
			return errors.New("this server does not implement the grpc health protocol (grpc.health.v1.Health)")
		case err != nil:
			return fmt.Errorf("health rpc probe failed: %w", err)
		case answer.GetStatus() != healthpb.HealthCheckResponse_SERVING:
			return fmt.Errorf("service unhealthy (responded with %q)", answer.GetStatus())
		}
		return nil
	}
}
