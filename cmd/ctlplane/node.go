package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/ctlplane/ctlplane/agent/machine"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/pki"
)

const (
	// refreshPatience is how long a node that starts waits to be told where its masters are now.
	refreshPatience = 5 * time.Second
	// firstClusterCIDR is what holds the pods of clusters whose masters don't tell nodes.
	firstClusterCIDR = "10.42.0.0/16"
)

// enrol finds the node's place in the cluster: the one that it has, or with the token a new one.
func (f *joinFlags) enrol(cmd *cobra.Command, server, dir, name string, ip netip.Addr, log *slog.Logger) (*pki.Enrolment, error) {
	dir = filepath.Join(dir, "pki")
	enrolment, ok, err := pki.LoadEnrolment(dir, server)
	if err != nil {
		return nil, err
	}
	if ok && enrolment.Name() != name {
		return nil, fmt.Errorf("%s is the data directory of node %q: start it under that name, or use another --data-dir for node %q", dir, enrolment.Name(), name)
	}
	var ended error
	if ok {
		if ended = enrolment.Ended(time.Now()); ended == nil {
			return enrolment, nil
		}
	}
	text, err := f.token.read(cmd.Context(), cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	if text == "" {
		if ended != nil {
			return nil, ended
		}
		return nil, errors.New("a node needs a token to join: make one on a master with `ctlplane token create` and give it with --token-file")
	}
	token, err := pki.ParseToken(text)
	if err != nil {
		return nil, err
	}
	enrolment, err = pki.Enrol(cmd.Context(), dir, server, token, pki.JoinRequest{Name: name, Hosts: []string{name, ip.String()}}, log)
	if err != nil && ended != nil {
		err = fmt.Errorf("%w: %w", ended, err)
	}
	return enrolment, err
}

// runEnrolled runs a node that has its place in the cluster, and keeps that: its certificates, and where its masters are.
func runEnrolled(ctx context.Context, config machine.Config, enrolment *pki.Enrolment) (err error) {
	refresh, cancel := context.WithTimeout(ctx, refreshPatience)
	if _, err := enrolment.Refresh(refresh); err != nil {
		config.Logger.Warn("no master tells where the cluster is now; going on with what is known", "err", err)
	}
	if enrolment.Moved() {
		if err := enrolment.Renew(refresh); err != nil {
			config.Logger.Warn("the node's certificate does not name its present address; logs can't be read until it is renewed", "err", err)
		}
	}
	cancel()
	cidr := enrolment.ClusterCIDR()
	if cidr == "" {
		cidr = firstClusterCIDR
	}
	if config.ClusterCIDR, err = netip.ParsePrefix(cidr); err != nil {
		return fmt.Errorf("the cluster's range of pod addresses, as the masters told it: %w", err)
	}
	conn, err := client.Connect(ctx, client.Config{
		Endpoints: enrolment.ClientEndpoints(), TLS: pki.Client(enrolment.Client, enrolment.CA), Logger: config.Logger,
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	config.Objects = conn.Objects()
	config.TLS = pki.Server(enrolment.Serving, enrolment.CA, tls.RequireAndVerifyClientCert, "h2", "http/1.1")

	renewer := pki.NewRenewer(enrolment.CA, config.Logger)
	renewer.Keep(enrolment.Renewal())
	config.Metrics = []prometheus.Collector{renewer}
	hints := make(chan struct{}, 1)
	config.MastersChanged = func() {
		select {
		case hints <- struct{}{}:
		default: // it will ask anyhow
		}
	}
	ctx, cancel = context.WithCancel(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { renewer.Run(ctx) })
	keeping.Go(func() {
		enrolment.Follow(ctx, hints, func() {
			if err := conn.SetEndpoints(enrolment.ClientEndpoints()...); err != nil {
				config.Logger.Warn("the masters' addresses, as they told them, can't be used", "err", err)
			}
		}, config.Logger)
	})
	err = machine.Run(ctx, config)
	cancel()
	keeping.Wait()
	return err
}
