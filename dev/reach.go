package dev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/ctlplane/ctlplane/client"
)

// connect opens a client to one master's client port.
func (m *Master) connect(ctx context.Context, endpoint string) (*client.Client, error) {
	config, err := client.OpenKubeconfig(m.kubeconfig())
	if err != nil {
		return nil, err
	}
	config.Endpoints = []string{endpoint}
	return client.Connect(ctx, config)
}

// Leader finds the master that leads.
func (c *Cluster) Leader(ctx context.Context) (*Master, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		for i, m := range c.Masters {
			if m.Running() && c.leads(ctx, m, m.Access.Endpoints[i]) {
				return m, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("no master leads")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Cluster) leads(ctx context.Context, m *Master, endpoint string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := m.connect(ctx, endpoint)
	if err != nil {
		return false
	}
	defer conn.Close()
	status, err := conn.KV().Status(ctx, endpoint)
	return err == nil && status.Leader == status.Header.MemberId
}

// nextWrite tries a write again and again, on all masters that run, and answers how long it took until
// one was acknowledged.
func (c *Cluster) nextWrite(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	begin := time.Now()
	acknowledged := make(chan error, len(c.Masters))
	for i, m := range c.Masters {
		if !m.Running() {
			continue
		}
		go func() {
			conn, err := m.connect(ctx, m.Access.Endpoints[i])
			if err != nil {
				acknowledged <- err
				return
			}
			defer conn.Close()
			for ctx.Err() == nil {
				try, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
				_, err = conn.KV().Put(try, "demo/after-the-leader", time.Now().String())
				cancel()
				if err == nil {
					break
				}
			}
			acknowledged <- err
		}()
	}
	if err := <-acknowledged; err != nil {
		return 0, fmt.Errorf("no write succeeded: %w", err)
	}
	return time.Since(begin), nil
}

// dialer dials from inside a node's network.
func (d *demo) dialer(node *Node) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		type dialed struct {
			conn net.Conn
			err  error
		}
		result := make(chan dialed, 1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread() // back home by then
			var conn net.Conn
			err := inNamespace(node.Namespace, func() (err error) {
				conn, err = dialHere(ctx, network, address)
				return err
			})
			result <- dialed{conn, err}
		}()
		r := <-result
		return r.conn, r.err
	}
}

// dialHere dials an IP without leaving this thread, which is in the namespace that counts.
func dialHere(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address)
}
