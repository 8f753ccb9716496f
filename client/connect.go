package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Config says which cluster to talk to, and how.
type Config struct {
	// Endpoints are client addresses of masters, "host:port" each, with or without https:// (http:// when
	// Insecure is set). Calls are spread over those that answer.
	Endpoints []string
	// TLS holds the cluster's CA and the client's certificate. Required unless Insecure is set.
	TLS *tls.Config
	// Insecure talks plain text: only to a cluster started with --kv-insecure, or to a plain etcd.
	Insecure bool
	// DialTimeout is how long Connect waits for a first answer. With zero it does not wait at all: what is wrong
	// with the connection shows in the first call, and a client may be made while the cluster is down.
	DialTimeout time.Duration
	// Logger receives what the connection has to say. Nil: nothing is logged.
	Logger *slog.Logger
}

// Client is a connection to a cluster: one gRPC connection to each endpoint, shared by all that is done through
// the client, and made again by itself when it breaks. Safe for concurrent use.
type Client struct {
	etcd *clientv3.Client
	cfg  Config
}

// Windows of a stream and of a connection, in bytes. gRPC's own default of 64 KiB would stop a stream of writes for
// a round trip every few hundred of them; its automatic sizing sends a ping for each burst of data to find that out.
const (
	streamWindow     = 4 << 20
	connectionWindow = 16 << 20
	socketBuffer     = 128 << 10
)

// A connection on which something is under way and nothing came for keepaliveTime is asked for an answer within keepaliveTimeout.
const (
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
)

// Connect opens a client to the cluster. With a DialTimeout it returns once an endpoint has answered, or says why none
// did. ctx bounds Connect only, not the life of the client; Close ends that.
func Connect(ctx context.Context, cfg Config) (*Client, error) {
	endpoints, err := cfg.endpoints()
	if err != nil {
		return nil, err
	}
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		TLS:                  cfg.TLS,
		DialTimeout:          cfg.DialTimeout,
		DialKeepAliveTime:    keepaliveTime,
		DialKeepAliveTimeout: keepaliveTimeout,
		DialOptions:          cfg.dialOptions(),
		Logger:               zapLogger(cfg.Logger),
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", strings.Join(cfg.Endpoints, ","), err)
	}
	c := &Client{etcd: etcd, cfg: cfg}
	if cfg.DialTimeout > 0 {
		if err := c.waitForAnswer(ctx, cfg.DialTimeout); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("connect to %s: %w", strings.Join(cfg.Endpoints, ","), err)
		}
	}
	return c, nil
}

// SetEndpoints says where the cluster is from now on, as Config.Endpoints does. Connections to endpoints that are still among
// them stay; what is under way on others ends when it has ended.
func (c *Client) SetEndpoints(endpoints ...string) error {
	cfg := c.cfg
	cfg.Endpoints = endpoints
	checked, err := cfg.endpoints()
	if err == nil {
		c.etcd.SetEndpoints(checked...)
	}
	return err
}

// Close ends the client: calls, watches and pipelines that are still open fail.
func (c *Client) Close() error {
	err := c.etcd.Close()
	if errors.Is(err, context.Canceled) { // what the etcd client answers when it had been idle
		return nil
	}
	return err
}

// endpoints checks the configuration and gives each endpoint the scheme that says what TLS says, so that a mistyped
// http:// can't turn off encryption.
func (cfg Config) endpoints() ([]string, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("connect: no endpoints given; name at least one master's client address, host:port")
	}
	if cfg.Insecure && cfg.TLS != nil {
		return nil, errors.New("connect: Insecure and TLS are both set; choose one")
	}
	if !cfg.Insecure && cfg.TLS == nil {
		return nil, errors.New("connect: no TLS configuration; give the cluster's CA and a client certificate, " +
			"or set Insecure for a cluster that was started with --kv-insecure")
	}
	want, other := "https://", "http://"
	if cfg.Insecure {
		want, other = other, want
	}
	endpoints := make([]string, len(cfg.Endpoints))
	for i, e := range cfg.Endpoints {
		if strings.HasPrefix(e, other) {
			return nil, fmt.Errorf("connect: endpoint %q does not go with the TLS settings, which ask for %s", e, want)
		}
		hostPort := strings.TrimSuffix(strings.TrimPrefix(e, want), "/")
		if _, _, err := net.SplitHostPort(hostPort); err != nil {
			return nil, fmt.Errorf("connect: endpoint %q is not host:port: %w", e, err)
		}
		endpoints[i] = want + hostPort
	}
	return endpoints, nil
}

func (cfg Config) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithWriteBufferSize(socketBuffer),
		grpc.WithReadBufferSize(socketBuffer),
		// A master that was restarted should be found again in well under a second.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
	}
}

// waitForAnswer asks for the health of whichever endpoint answers first, again and again while none can be reached.
// Any answer will do, also a refusal: the point is that someone is there.
func (c *Client) waitForAnswer(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	health := healthpb.NewHealthClient(c.etcd.ActiveConnection())
	var cause error
	for {
		_, err := health.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(false))
		if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded && code != codes.Canceled {
			return nil
		}
		if ctx.Err() == nil || cause == nil {
			cause = err
		}
		retry := time.NewTimer(20 * time.Millisecond)
		select {
		case <-ctx.Done():
			retry.Stop()
			return fmt.Errorf("no endpoint answered within %s: %s; is the cluster running, and are addresses and certificates right?",
				timeout, status.Convert(cause).Message())
		case <-retry.C:
		}
	}
}
