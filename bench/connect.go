package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// findTimeout is how long a leader is looked for before a run: longer than an election takes.
const findTimeout = 10 * time.Second

// cluster is what a run learns of the servers before it starts.
type cluster struct {
	version   string   // of the first that answered
	endpoints []string // those to load
}

// dial opens one connection to one endpoint. What costs time in each call and is of no use here is off: retries,
// service configuration, and the writers' own buffers.
func dial(endpoint string, cfg *tls.Config, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if cfg != nil {
		creds = credentials.NewTLS(cfg)
	}
	const window, buffer = 16 << 20, 64 << 10
	return grpc.NewClient("passthrough:///"+hostPort(endpoint), append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		grpc.WithWriteBufferSize(buffer), grpc.WithReadBufferSize(buffer),
	}, more...)...)
}

func hostPort(endpoint string) string {
	_, rest, found := strings.Cut(endpoint, "://")
	if !found {
		rest = endpoint
	}
	return strings.TrimSuffix(rest, "/")
}

// findCluster asks every endpoint who it is, and keeps the ones that target means.
func findCluster(ctx context.Context, o Options) (cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	for {
		c, err := askCluster(ctx, o)
		if err == nil {
			return c, nil
		}
		retry := o.Clock.NewTimer(100 * time.Millisecond)
		select {
		case <-retry.C():
		case <-ctx.Done():
			retry.Stop()
			return cluster{}, err
		}
	}
}

func askCluster(ctx context.Context, o Options) (cluster, error) {
	var c cluster
	var errs []error
	for _, e := range o.Endpoints {
		s, err := memberStatus(ctx, e, o.TLS)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %s", e, status.Convert(err).Message()))
			continue
		case o.Target == TargetLeader && s.Leader != s.Header.GetMemberId():
			continue
		}
		c.version = s.Version
		c.endpoints = append(c.endpoints, e)
	}
	switch {
	case o.Target == TargetAll && len(errs) > 0:
		return c, fmt.Errorf("bench: not every endpoint answers: %w", errors.Join(errs...))
	case len(c.endpoints) > 0:
		return c, nil
	case len(errs) == len(o.Endpoints):
		return c, fmt.Errorf("bench: no endpoint answers; is the cluster running, and do addresses and TLS settings fit? %w", errors.Join(errs...))
	default:
		return c, fmt.Errorf("bench: none of %s is the cluster's leader; name all its endpoints, or load all of them (target %q)",
			strings.Join(o.Endpoints, ","), TargetAll)
	}
}

func memberStatus(ctx context.Context, endpoint string, cfg *tls.Config) (*pb.StatusResponse, error) {
	conn, err := dial(endpoint, cfg)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
}
