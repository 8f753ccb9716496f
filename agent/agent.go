package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/ctlplane/ctlplane/agent/node"
	"github.com/ctlplane/ctlplane/agent/pods"
	"github.com/ctlplane/ctlplane/agent/server"
	"github.com/ctlplane/ctlplane/client"
)

// Agent is one node. Run it once; a later agent on the same directory takes up where it ended.
//
//  1. Stopping the agent stops nothing that runs on the node.
//  2. While the API server is away, what runs keeps running, and is restarted when it ends.
type Agent struct {
	cfg         Config
	capacity    corev1.ResourceList
	allocatable corev1.ResourceList
	pods        *pods.Manager
	recorder    *client.Recorder
	metrics     *prometheus.Registry
	listener    net.Listener
	lock        *os.File
}

// New checks the configuration, takes the data directory and the listening address, and makes an agent.
func New(cfg Config) (*Agent, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	lock, err := lockDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, lock: lock}
	if err := a.prepare(); err != nil {
		lock.Close()
		return nil, err
	}
	return a, nil
}

func (a *Agent) prepare() error {
	var err error
	if a.capacity, err = node.Capacity(a.cfg.DataDir); err != nil {
		return err
	}
	for name, quantity := range a.cfg.Capacity {
		a.capacity[name] = quantity
	}
	a.allocatable = allocatable(a.capacity)
	a.recorder = client.NewRecorder(a.cfg.Objects, "kubelet", a.cfg.Clock)
	a.recorder.Host, a.recorder.Logger = a.cfg.NodeName, a.cfg.Logger
	var leads func(netip.Addr) bool
	if a.cfg.Network != nil {
		leads = a.cfg.Network.Leads
	}
	a.pods = pods.New(pods.Config{
		NodeName: a.cfg.NodeName, NodeIP: a.cfg.NodeIP.String(), Dir: a.cfg.DataDir, CgroupRoot: CgroupRoot(a.cfg.DataDir), Cgroups: pods.Kernel{},
		Objects: a.cfg.Objects, Runtime: a.cfg.Runtime, Images: a.cfg.Images, Events: a.recorder, Leads: leads,
		Allocatable: func() corev1.ResourceList { return a.allocatable }, Capacity: func() corev1.ResourceList { return a.capacity },
		ClusterDNS: a.cfg.ClusterDNS, ClusterDomain: a.cfg.ClusterDomain, Clock: a.cfg.Clock, Logger: a.cfg.Logger,
	})
	a.metrics = newMetrics(a.pods, a.cfg.Runtime, a.cfg.Metrics)
	if a.listener, err = net.Listen("tcp", a.cfg.ListenAddr); err != nil {
		return fmt.Errorf("the agent's server can't listen: %w; choose another address, or end what uses it", err)
	}
	return nil
}

// CgroupRoot is the cgroup in which all pods of the agent with the given directory are: one machine can be several nodes.
func CgroupRoot(dataDir string) string {
	if resolved, err := filepath.EvalSymlinks(dataDir); err == nil {
		dataDir = resolved
	}
	sum := fnv.New32a()
	_, _ = io.WriteString(sum, dataDir)
	return fmt.Sprintf("ctlplane-%08x", sum.Sum32())
}

// lockDir makes this process the only one that uses a data directory.
func lockDir(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "agent.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("the data directory %s is in use by an agent that runs: stop that first, or choose another directory", dir)
	}
	return file, nil
}

// Lock keeps agents from using a data directory until release is called. It refuses a directory that an agent uses.
func Lock(dir string) (release func(), err error) {
	if dir, err = realDir(dir); err != nil {
		return nil, err
	}
	file, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	return func() { file.Close() }, nil
}

// allocatable is what of a machine is for pods: all but the memory that the system itself needs.
func allocatable(capacity corev1.ResourceList) corev1.ResourceList {
	out := capacity.DeepCopy()
	if memory := capacity.Memory().Value(); memory > 2*systemMemory {
		out[corev1.ResourceMemory] = *resource.NewQuantity(memory-systemMemory, resource.BinarySI)
	}
	return out
}

// Addr is where the agent's server listens.
func (a *Agent) Addr() net.Addr { return a.listener.Addr() }

// Run is the node's life until ctx ends or a part fails. Containers run on afterwards.
func (a *Agent) Run(ctx context.Context) error {
	defer a.lock.Close()
	if err := a.retainNetwork(ctx); err != nil {
		a.listener.Close()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	version, err := a.cfg.Runtime.Version(ctx, "v1")
	if err != nil {
		a.listener.Close()
		return fmt.Errorf("ask the container runtime for its version: %w", err)
	}
	reporter := node.New(a.nodeConfig(version.GetRuntimeName() + "://" + version.GetRuntimeVersion()))
	parts := []func(context.Context) error{
		a.pods.Run, reporter.Run, a.serve,
		func(ctx context.Context) error { a.recorder.Run(ctx); return nil },
	}
	if a.cfg.Network != nil {
		parts = append(parts, a.cfg.Network.Run)
	}
	return runAll(ctx, cancel, parts)
}

// runAll runs parts until ctx ends; one that fails ends the others.
func runAll(ctx context.Context, cancel context.CancelFunc, parts []func(context.Context) error) error {
	failures := make([]error, len(parts))
	var running sync.WaitGroup
	for i, part := range parts {
		running.Go(func() {
			if err := part(ctx); err != nil && !errors.Is(err, context.Canceled) {
				failures[i] = err
				cancel()
			}
		})
	}
	running.Wait()
	return errors.Join(failures...)
}

// retainNetwork disconnects pods that went away while no agent looked after them.
func (a *Agent) retainNetwork(ctx context.Context) error {
	if a.cfg.Network == nil {
		return nil
	}
	sandboxes, err := a.cfg.Runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return err
	}
	live := map[string]bool{}
	for _, s := range sandboxes {
		live[s.GetId()] = true
	}
	return a.cfg.Network.Retain(ctx, live)
}

func (a *Agent) nodeConfig(runtimeVersion string) node.Config {
	port := int32(0)
	if tcp, ok := a.listener.Addr().(*net.TCPAddr); ok {
		port = int32(tcp.Port)
	}
	return node.Config{
		Name: a.cfg.NodeName, IP: a.cfg.NodeIP.String(), Port: port, Dir: a.cfg.DataDir, Labels: a.cfg.Labels, Taints: a.cfg.Taints,
		Capacity: a.capacity, Allocatable: a.allocatable, Version: a.cfg.Version, RuntimeVersion: runtimeVersion,
		Ready: a.ready, ReadyChanged: a.cfg.ReadyChanged, Images: a.images, Heartbeat: a.cfg.HeartbeatInterval,
		Objects: a.cfg.Objects, Clock: a.cfg.Clock, Logger: a.cfg.Logger,
	}
}

// ready says why pods can't be run, as far as the runtime and whoever else was asked to know.
func (a *Agent) ready(ctx context.Context) error {
	status, err := a.cfg.Runtime.Status(ctx, false)
	if err != nil {
		return fmt.Errorf("container runtime: %w", err)
	}
	for _, c := range status.GetStatus().GetConditions() {
		if !c.GetStatus() {
			return fmt.Errorf("container runtime: %s is not met: %s", c.GetType(), c.GetMessage())
		}
	}
	if a.cfg.Ready != nil {
		return a.cfg.Ready(ctx)
	}
	return nil
}

// maxReportedImages is how many images a node's status names.
const maxReportedImages = 50

func (a *Agent) images(ctx context.Context) []corev1.ContainerImage {
	list, err := a.cfg.Images.ListImages(ctx, nil)
	if err != nil {
		a.cfg.Logger.Warn("list the node's images", "error", err)
		return nil
	}
	var out []corev1.ContainerImage
	for _, image := range list[:min(len(list), maxReportedImages)] {
		out = append(out, corev1.ContainerImage{Names: append(image.GetRepoDigests(), image.GetRepoTags()...), SizeBytes: int64(image.GetSize())})
	}
	return out
}

func (a *Agent) serve(ctx context.Context) error {
	return server.Run(ctx, server.Config{
		Listener: a.listener, TLS: a.cfg.ServingTLS, Pods: served{a.pods}, Metrics: a.metrics, Logger: a.cfg.Logger,
	})
}

// served shows the pods to the agent's server.
type served struct{ *pods.Manager }

// Logs writes a container's log as an answer.
func (s served) Logs(ctx context.Context, namespace, pod, container string, opts *corev1.PodLogOptions, w http.ResponseWriter) error {
	err := s.Manager.Logs(ctx, namespace, pod, container, opts, w)
	if errors.Is(err, pods.ErrNoLogs) {
		return fmt.Errorf("%w: %w", server.ErrNoLogs, err)
	}
	return err
}
