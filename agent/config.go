// Package agent is a node of the cluster: it registers the machine, runs the pods that are bound to it through a
// container runtime, and tells the API server how they are.
package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/agent/pods"
	"github.com/ctlplane/ctlplane/client"
)

// Runtime runs sandboxes and containers: the part of CRI's runtime service that the agent needs.
type Runtime = pods.Runtime

// Images keeps images: the part of CRI's image service that the agent needs.
type Images = pods.Images

// Network is the node's pod network, as agent/network has it. The container runtime connects pods to it; the
// agent runs it.
type Network interface {
	// Run keeps the node's routes to other nodes' pods up to date until ctx ends. Pods stay connected.
	Run(ctx context.Context) error
	// Setup connects the namespace at netnsPath and returns its address; repeating it changes nothing.
	Setup(ctx context.Context, id, netnsPath string) (netip.Addr, error)
	// Teardown disconnects what Setup connected; repeating it is no error.
	Teardown(ctx context.Context, id string) error
	// Retain disconnects all but those that live says are there.
	Retain(ctx context.Context, live map[string]bool) error
	// Leads tells whether traffic for the address gets to this node, as far as is known.
	Leads(ip netip.Addr) bool
}

const (
	defaultListenAddr = ":10250"
	// DefaultHeartbeat is how often a node says that it lives, unless it is told otherwise.
	DefaultHeartbeat = 5 * time.Second
	// systemMemory of the machine is kept from pods, where the machine has that much.
	systemMemory = 256 << 20
)

// Config is what an Agent needs.
type Config struct {
	// NodeName is the node's name in the cluster, NodeIP the address at which other nodes reach it.
	NodeName string
	NodeIP   netip.Addr
	// DataDir holds what the agent keeps. One agent at a time uses it.
	DataDir string
	Objects client.Objects
	Runtime Runtime
	Images  Images
	// Network may be nil when the runtime has a network of its own.
	Network Network
	// Ready says why the node can't run pods yet, besides what the agent itself finds; nil asks nobody.
	Ready func(ctx context.Context) error
	// ReadyChanged, when set, tells that Ready may answer otherwise than before.
	ReadyChanged <-chan struct{}
	// ServingTLS has the certificate of the agent's server and the CA of its clients.
	ServingTLS *tls.Config
	// ListenAddr is where the agent's server listens, ":10250" when empty.
	ListenAddr string
	// HeartbeatInterval is how often the node says that it lives, DefaultHeartbeat when 0.
	HeartbeatInterval time.Duration
	Labels            map[string]string
	Taints            []corev1.Taint
	// Capacity replaces what the machine is found to have, for machines that are several nodes.
	Capacity corev1.ResourceList
	// ClusterDNS and ClusterDomain are what pods resolve names with; without ClusterDNS they use the node's.
	ClusterDNS    string
	ClusterDomain string
	// Metrics are served beside the agent's own.
	Metrics []prometheus.Collector
	// Version is ctlplane's version, for the node's status.
	Version string
	Clock   clock.Clock
	Logger  *slog.Logger
}

// complete checks a configuration and fills what it leaves open.
func (c *Config) complete() error {
	if problems := validation.IsDNS1123Subdomain(c.NodeName); len(problems) > 0 {
		return fmt.Errorf("node name %q is not valid: %s; choose another with --name", c.NodeName, problems[0])
	}
	if !c.NodeIP.IsValid() {
		return errors.New("the node's address is missing")
	}
	if c.Objects == nil || c.Runtime == nil || c.Images == nil || c.DataDir == "" {
		return errors.New("an agent needs Objects, Runtime, Images and DataDir")
	}
	var err error
	if c.DataDir, err = realDir(c.DataDir); err != nil {
		return err
	}
	if c.ListenAddr == "" {
		c.ListenAddr = defaultListenAddr
	}
	if c.HeartbeatInterval == 0 {
		c.HeartbeatInterval = DefaultHeartbeat
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	if c.Version == "" {
		c.Version = "v0.0.0"
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// realDir makes a directory and resolves its name: what is mounted below it is found by that.
func realDir(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}
