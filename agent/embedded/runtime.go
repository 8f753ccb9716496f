// Package embedded is a container runtime inside the node agent, for machines that have none: images from
// agent/image, root file systems on overlayfs, containers by runc's libcontainer behind a shim each. It
// has the shape of CRI (k8s.io/cri-api), so that the agent can use containerd or CRI-O in its place.
package embedded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/agent/demo"
	"github.com/ctlplane/ctlplane/agent/embedded/shim"
	"github.com/ctlplane/ctlplane/agent/image"
	"github.com/ctlplane/ctlplane/agent/network"
)

const (
	// Name is what the runtime calls itself in container IDs and node status.
	Name = "ctlplane"
	// Version is the runtime's own version.
	Version = "1"

	defaultLogMaxBytes = 10 << 20
	defaultLogMaxFiles = 5
	defaultPidsLimit   = 4096
)

// Network connects pods. Setup may be called again for a pod that is connected, Teardown for one that is not.
type Network interface {
	Setup(ctx context.Context, id, netnsPath string) (netip.Addr, error)
	Teardown(ctx context.Context, id string) error
	// Expose leads ports of the node to a pod that is connected, until its Teardown.
	Expose(ctx context.Context, id string, ports []network.HostPort) error
}

// Config is what a Runtime needs.
type Config struct {
	// Dir holds everything that the runtime keeps: images, containers, pinned namespaces.
	Dir string
	// Network connects pods that do not share the node's network.
	Network Network
	// LogMaxBytes is the size at which a container's log is rotated, 10 MiB when 0; LogMaxFiles is how many
	// files of it are kept, 5 when 0.
	LogMaxBytes int64
	LogMaxFiles int
	// PidsLimit bounds the processes and threads of one container, 4096 when 0.
	PidsLimit int64
	Clock     clock.Clock
	Logger    *slog.Logger
}

// Runtime runs the containers of one node. Its methods are safe for concurrent use.
//
//  1. What runs is known from Dir alone: a Runtime opened on it later has the same sandboxes and
//     containers, running ones with the same processes.
//  2. A container goes one way only: created, running, exited. It runs at most once.
//  3. Close leaves everything running; Destroy leaves nothing.
type Runtime struct {
	cfg    Config
	log    *slog.Logger
	images *image.Store

	mu         sync.Mutex
	sandboxes  map[string]*sandbox
	containers map[string]*container
	listeners  map[chan *runtimeapi.ContainerEventResponse]bool

	closing      context.Context
	stop         context.CancelFunc
	watches      sync.WaitGroup
	awaitProcess awaitProcess
}

// New opens the runtime at cfg.Dir and takes up again whatever runs there.
func New(cfg Config) (*Runtime, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.LogMaxBytes == 0 {
		cfg.LogMaxBytes = defaultLogMaxBytes
	}
	if cfg.LogMaxFiles == 0 {
		cfg.LogMaxFiles = defaultLogMaxFiles
	}
	if cfg.PidsLimit == 0 {
		cfg.PidsLimit = defaultPidsLimit
	}
	var err error
	// Namespaces and root file systems are mounted below Dir, and mount points are compared with it.
	if cfg.Dir, err = realDir(cfg.Dir); err != nil {
		return nil, err
	}
	r := &Runtime{
		cfg: cfg, log: cfg.Logger, sandboxes: map[string]*sandbox{}, containers: map[string]*container{},
		listeners: map[chan *runtimeapi.ContainerEventResponse]bool{}, awaitProcess: awaitByKernel,
	}
	r.closing, r.stop = context.WithCancel(context.Background())
	if r.images, err = OpenImages(cfg.Dir, cfg.Logger); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	if err := errors.Join(r.loadSandboxes(), r.loadContainers()); err != nil {
		r.stop()
		r.watches.Wait()
		return nil, fmt.Errorf("take up containers in %s: %w", cfg.Dir, err)
	}
	return r, nil
}

// OpenImages opens the images of the runtime whose directory is dir, the built-in one among them.
func OpenImages(dir string, log *slog.Logger) (*image.Store, error) {
	images, err := image.Open(filepath.Join(dir, "images"), log)
	if err != nil {
		return nil, err
	}
	if err := addDemo(images); err != nil {
		log.Warn("the demo image is not available", "error", err)
	}
	return images, nil
}

// addDemo makes the built-in image out of the program that runs.
func addDemo(images *image.Store) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	img, err := image.FromProgram(program, demo.Program, v1.Config{Entrypoint: []string{demo.Program, demo.Command}})
	if err != nil {
		return err
	}
	images.AddBuiltin(demo.Repository, img)
	return nil
}

// realDir makes a directory and resolves its name.
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

// Close stops watching and leaves all containers running.
func (r *Runtime) Close(context.Context) error {
	r.stop()
	r.watches.Wait()
	return nil
}

// Images is the runtime's image store.
func (r *Runtime) Images() *image.Store { return r.images }

// Version says which runtime this is.
func (r *Runtime) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: Name, RuntimeVersion: Version, RuntimeApiVersion: "v1"}, nil
}

// Status says whether the runtime can run pods.
func (r *Runtime) Status(context.Context, bool) (*runtimeapi.StatusResponse, error) {
	return &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true},
		{Type: runtimeapi.NetworkReady, Status: true},
	}}}, nil
}

// GetContainerEvents sends to ch that a container was started or has stopped, until ctx ends. An event says
// no more than that there is something to look at; one that ch has no room for is dropped.
func (r *Runtime) GetContainerEvents(ctx context.Context, ch chan *runtimeapi.ContainerEventResponse, established func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	r.mu.Lock()
	r.listeners[ch] = true
	r.mu.Unlock()
	if established != nil {
		established(nil)
	}
	select {
	case <-ctx.Done():
	case <-r.closing.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.listeners, ch)
	return nil
}

func (r *Runtime) notify(kind runtimeapi.ContainerEventType, c *container) {
	event := &runtimeapi.ContainerEventResponse{ContainerId: c.id, ContainerEventType: kind, CreatedAt: r.cfg.Clock.Now().UnixNano()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.sandboxes[c.sandbox]; ok {
		event.PodSandboxStatus = s.status()
	}
	for ch := range r.listeners {
		select {
		case ch <- event:
		default:
		}
	}
}

func newID() string {
	var id [32]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

func (r *Runtime) sandboxDir(id string) string { return filepath.Join(r.cfg.Dir, "sandboxes", id) }

func (r *Runtime) containerDir(id string) shim.Dir {
	return shim.Dir(filepath.Join(r.cfg.Dir, "containers", id))
}

// nanoseconds is CRI's form of a time: 0 when there is none.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
