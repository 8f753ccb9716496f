// Package machine puts one node process together: the agent, the embedded runtime, the pod network and
// the service proxy.
package machine

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/ctlplane/ctlplane/agent"
	"github.com/ctlplane/ctlplane/agent/embedded"
	"github.com/ctlplane/ctlplane/agent/image"
	"github.com/ctlplane/ctlplane/agent/network"
	"github.com/ctlplane/ctlplane/agent/proxy"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/supervise"
)

// Config is what a node needs to run.
type Config struct {
	Name    string
	IP      netip.Addr
	DataDir string
	Version string
	Objects client.Objects
	// TLS has the certificate of the agent's server and the CA of its callers.
	TLS    *tls.Config
	Listen string
	// ClusterCIDR holds all pods' addresses, as the masters have it.
	ClusterCIDR netip.Prefix
	Labels      map[string]string
	// Heartbeat is how often the node says that it lives; 0 is the agent's default.
	Heartbeat time.Duration
	Logger    *slog.Logger
	// Metrics are shown by the agent's server beside its own.
	Metrics []prometheus.Collector
	// MastersChanged, when set, is called when the masters may be others than before.
	MastersChanged func()
	// Ready is called once the cluster sees the node ready.
	Ready func()
}

// Where a node keeps what, below its data directory.
func agentDir(dataDir string) string   { return filepath.Join(dataDir, "agent") }
func runtimeDir(dataDir string) string { return filepath.Join(dataDir, "runtime") }
func networkDir(dataDir string) string { return filepath.Join(dataDir, "network") }

// CgroupRoot is the cgroup, relative to each hierarchy's mount, that all containers of a node are in.
func CgroupRoot(dataDir string) string { return agent.CgroupRoot(agentDir(dataDir)) }

// Run runs the node until ctx ends or a part fails. Containers, their network and the rules of services
// stay: Destroy takes them away.
func Run(ctx context.Context, cfg Config) (err error) {
	supervise.ContainClientGo(cfg.Logger)
	pods, err := network.New(network.Config{
		Objects: cfg.Objects, NodeName: cfg.Name, NodeIP: cfg.IP, ClusterCIDR: cfg.ClusterCIDR,
		Dir: networkDir(cfg.DataDir), Logger: cfg.Logger,
	})
	if err != nil {
		return err
	}
	runtime, err := embedded.New(embedded.Config{Dir: runtimeDir(cfg.DataDir), Network: pods, Logger: cfg.Logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, runtime.Close(context.WithoutCancel(ctx))) }()
	services, err := proxy.New(proxy.Config{Objects: cfg.Objects, NodeName: cfg.Name, Logger: cfg.Logger})
	if err != nil {
		return err
	}
	node, err := agent.New(agent.Config{
		NodeName: cfg.Name, NodeIP: cfg.IP, DataDir: agentDir(cfg.DataDir), Objects: cfg.Objects,
		Runtime: runtime, Images: runtime, Network: pods, Ready: pods.Ready, ReadyChanged: pods.ReadyChanged(),
		ServingTLS: cfg.TLS, ListenAddr: cfg.Listen, HeartbeatInterval: cfg.Heartbeat, Labels: cfg.Labels,
		Version: cfg.Version, Metrics: append([]prometheus.Collector{pods.Metrics(), services.Metrics()}, cfg.Metrics...), Logger: cfg.Logger,
	})
	if err != nil {
		return err
	}
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return node.Run(ctx) })
	parts.Go(func() error { return services.Run(ctx) })
	parts.Go(func() error { awaitReady(ctx, cfg); return nil })
	if cfg.MastersChanged != nil {
		parts.Go(func() error { watchMasters(ctx, cfg.Objects, cfg.MastersChanged); return nil })
	}
	return parts.Wait()
}

// readyCheck is how often the node's own object is looked at until it is ready.
const readyCheck = 100 * time.Millisecond

// awaitReady calls cfg.Ready once the cluster sees the node ready.
func awaitReady(ctx context.Context, cfg Config) {
	tick := time.NewTicker(readyCheck)
	defer tick.Stop()
	for {
		node, err := client.For[*corev1.Node](cfg.Objects).Get(ctx, "", cfg.Name)
		if err == nil && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}) {
			cfg.Ready()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Destroy takes away what a node that does not run left on the machine: containers, mounts, cgroups and
// the pod network, which must be in this thread's network namespace. The enrolment stays.
func Destroy(ctx context.Context, dataDir string, log *slog.Logger) error {
	return errors.Join(
		embedded.DestroyDir(ctx, runtimeDir(dataDir), log),
		agent.CleanDir(agentDir(dataDir)),
		network.Remove(networkDir(dataDir)),
		proxy.Remove(ctx),
	)
}

// Images opens the images of a node, whether it runs or not: the store is shared through its files. It makes nothing, and
// answers ErrNoNode, where no node's data is.
func Images(dataDir string, log *slog.Logger) (*image.Store, error) {
	if found, err := holdsNode(dataDir); err != nil || !found {
		return nil, cmp.Or(err, ErrNoNode)
	}
	return embedded.OpenImages(runtimeDir(dataDir), log)
}

// PrepareImages opens the images that a node will have which has not joined yet, and makes their place.
func PrepareImages(dataDir string, log *slog.Logger) (*image.Store, error) {
	return embedded.OpenImages(runtimeDir(dataDir), log)
}
