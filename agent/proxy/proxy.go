// Package proxy forwards traffic for the cluster IPs of services to their ready endpoints, with
// nftables rules in the kernel of the node that it runs on.
package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/knftables"

	"github.com/ctlplane/ctlplane/agent/reconcile"
	"github.com/ctlplane/ctlplane/client"
)

// settle is how long changes are gathered before they are written to the kernel, so that a
// rollout's burst of endpoint changes costs a few transactions and not one each.
const settle = 50 * time.Millisecond

// Config is what a Proxy needs.
type Config struct {
	Objects client.Objects
	// NodeName is the node's: policies may hold traffic to it.
	NodeName string
	// NFT is the table that the proxy owns; nil for the kernel's.
	NFT    knftables.Interface
	Clock  clock.Clock // nil for the real one
	Logger *slog.Logger
}

// Proxy keeps the kernel's rules in step with Services and EndpointSlices.
//
//  1. It owns its nftables table and nothing else: whatever is in the table that it did not want, goes.
//  2. Every change is one transaction: no packet sees half of a change.
//  3. When the masters are away the last rules stay, and so they do when Run ends: connections through services
//     outlive a restart of the agent. The next Run takes the table over; Remove takes it away.
type Proxy struct {
	table    *table
	node     string
	shared   *client.Informers
	services cache.SharedIndexInformer
	slices   cache.SharedIndexInformer
	loop     *reconcile.Loop
}

// New makes a proxy. It fails when the machine has no nftables.
func New(cfg Config) (*Proxy, error) {
	rules := &table{nft: cfg.NFT}
	if rules.nft == nil {
		var err error
		rules.forget = forgetFlows
		if rules.nft, err = knftables.New(knftables.IPv4Family, tableName); err != nil {
			return nil, fmt.Errorf("the service proxy needs nftables (Debian's package nftables, and root): %w", err)
		}
	}
	shared := client.NewInformers(cfg.Objects)
	p := &Proxy{
		table:    rules,
		node:     cfg.NodeName,
		shared:   shared,
		services: client.InformerFor[*corev1.Service](shared),
		slices:   client.InformerFor[*discoveryv1.EndpointSlice](shared),
	}
	p.loop = reconcile.New(reconcile.Config{Name: "the table of services", Sync: p.sync, Settle: settle, Clock: cfg.Clock, Logger: cfg.Logger})
	onChange := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { p.loop.Mark() },
		UpdateFunc: func(any, any) { p.loop.Mark() },
		DeleteFunc: func(any) { p.loop.Mark() },
	}
	for _, informer := range []cache.SharedIndexInformer{p.services, p.slices} {
		if _, err := informer.AddEventHandler(onChange); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Remove takes away the rules that a proxy left in the kernel.
func Remove(ctx context.Context) error {
	nft, err := knftables.New(knftables.IPv4Family, tableName)
	if err != nil {
		return nil // without nftables there is nothing of ours in it
	}
	return (&table{nft: nft}).remove(ctx)
}

// Run keeps the rules true until ctx ends. They stay as they are then.
func (p *Proxy) Run(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.shared.Run(ctx)
	}()
	defer func() { <-stopped }()
	if !p.shared.WaitForSync(ctx) {
		return nil
	}
	p.loop.Mark()
	p.loop.Run(ctx)
	return nil
}

// Metrics counts how often the table was brought in step with the services.
func (p *Proxy) Metrics() prometheus.Collector { return p.loop }

func (p *Proxy) sync(ctx context.Context) error {
	var services []*corev1.Service
	for _, obj := range p.services.GetStore().List() {
		services = append(services, obj.(*corev1.Service))
	}
	var slices []*discoveryv1.EndpointSlice
	for _, obj := range p.slices.GetStore().List() {
		slices = append(slices, obj.(*discoveryv1.EndpointSlice))
	}
	return p.table.apply(ctx, forwards(services, slices, p.node))
}
