package client

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/writepb"
)

// leaderTimeout bounds the attempt to reach the leader at the address that it advertises, which need not be one for this client.
const leaderTimeout = time.Second

// openStream opens a stream of writes over a connection. It is not started yet.
func openStream(ctx context.Context, conn grpc.ClientConnInterface) (*writeStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := writepb.NewPipelineClient(conn).Write(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open a write stream: %w", err)
	}
	header, err := headerOf(stream)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &writeStream{stream: stream, header: header, cancel: cancel, wake: make(chan struct{}, 1)}
	s.room.L, s.idle.L = &s.mu, &s.mu
	return s, nil
}

// headerOf waits for the server's header, which it sends as soon as the stream is open. A server that refuses the
// stream, or that lacks the service, ends it without one.
func headerOf(stream writepb.Pipeline_WriteClient) (writepb.Header, error) {
	md, err := stream.Header()
	if err == nil && md != nil {
		return writepb.HeaderOf(md), nil
	}
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) == codes.Unimplemented {
		return writepb.Header{}, fmt.Errorf("open a write stream: the server has none (only a ctlplane master does): %w", err)
	}
	return writepb.Header{}, fmt.Errorf("open a write stream: %w", err)
}

// openAtLeader opens a stream to the leader that another member has told of; nil where it can't be had. What answers at the leader's
// address must be the leader, of the same cluster: seen from here the address may be another machine's.
func (c *Client) openAtLeader(ctx context.Context, told writepb.Header) *writeStream {
	if told.Leader == 0 || told.Leader == told.Member {
		return nil
	}
	for _, url := range told.LeaderURLs {
		target, ok := c.cfg.reachable(url)
		if !ok {
			continue
		}
		s := c.openDirectly(ctx, target)
		if s == nil {
			continue
		}
		if s.header.Cluster == told.Cluster && s.header.Member == told.Leader {
			return s
		}
		s.cancel()
	}
	return nil
}

// openDirectly opens a stream over a connection of its own.
func (c *Client) openDirectly(ctx context.Context, target string) *writeStream {
	secured := insecure.NewCredentials()
	if c.cfg.TLS != nil {
		secured = credentials.NewTLS(c.cfg.TLS)
	}
	conn, err := grpc.NewClient("passthrough:///"+target, append(c.cfg.dialOptions(), grpc.WithTransportCredentials(secured),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}))...)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(leaderTimeout, cancel)
	s, err := openStream(ctx, conn)
	end := func() {
		cancel()
		_ = conn.Close()
	}
	if err != nil || !late.Stop() {
		end()
		return nil
	}
	s.cancel = end
	return s
}

// reachable gives the host:port of a URL that a member advertises, if it goes with the TLS settings and names a host.
func (cfg Config) reachable(url string) (string, bool) {
	scheme := "https://"
	if cfg.Insecure {
		scheme = "http://"
	}
	target, ok := strings.CutPrefix(url, scheme)
	if !ok {
		return "", false
	}
	host, _, err := net.SplitHostPort(target)
	if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
		return "", false
	}
	return target, true
}
