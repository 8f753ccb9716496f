package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/ctlplane/ctlplane/agent/embedded/shim"
	"github.com/ctlplane/ctlplane/agent/mountpoint"
	"github.com/ctlplane/ctlplane/agent/record"
)

// ErrNotFound says that a sandbox or container is not known.
var ErrNotFound = errors.New("not found")

// startFailed is the exit code of a container whose command could not be executed.
const startFailed = 128

// container is one container, from its creation until it is removed.
type container struct {
	id      string
	sandbox string
	image   string
	dir     shim.Dir
	config  *runtimeapi.ContainerConfig
	created time.Time
	logPath string

	// Guarded by the runtime's mutex.
	starting bool
	started  shim.Started
	exit     *shim.Exit

	exited chan struct{} // closed when exit is set
}

// containerRecord is a container's form on disk.
type containerRecord struct {
	Sandbox string          `json:"sandbox"`
	Image   string          `json:"image"`
	Created time.Time       `json:"created"`
	Config  json.RawMessage `json:"config"`
	LogPath string          `json:"logPath,omitempty"`
}

func (c *container) file() string { return filepath.Join(string(c.dir), "container.json") }

func (c *container) save() error {
	config, err := protojson.Marshal(c.config)
	if err != nil {
		return err
	}
	return record.Write(c.file(), containerRecord{
		Sandbox: c.sandbox, Image: c.image, Created: c.created, Config: config, LogPath: c.logPath,
	})
}

// loadContainers reads the containers that an earlier Runtime left, and watches those that run.
func (r *Runtime) loadContainers() error {
	entries, err := os.ReadDir(filepath.Join(r.cfg.Dir, "containers"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		c := &container{id: entry.Name(), dir: r.containerDir(entry.Name()), exited: make(chan struct{})}
		var stored containerRecord
		if err := record.Read(c.file(), &stored); err != nil {
			r.log.Warn("remove an incomplete container", "container", c.id, "error", err)
			if err := removeDir(c.dir); err != nil {
				return err
			}
			continue
		}
		c.config = &runtimeapi.ContainerConfig{}
		if err := protojson.Unmarshal(stored.Config, c.config); err != nil {
			return fmt.Errorf("%s: %w", c.file(), err)
		}
		c.sandbox, c.image, c.created, c.logPath = stored.Sandbox, stored.Image, stored.Created, stored.LogPath
		r.containers[c.id] = c
		if err := r.adopt(c); err != nil {
			return err
		}
	}
	return nil
}

// adopt finds out what became of a container while no agent watched.
func (r *Runtime) adopt(c *container) error {
	started, err := c.dir.ReadStarted()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.started = started
	exit, err := c.dir.ReadExit()
	switch {
	case err == nil:
		r.finish(c, exit)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case !started.At.IsZero():
		r.watch(c)
	}
	return nil // created, or its start was cut short: removing it kills what there may be
}

// CreateContainer prepares a container in a sandbox that is ready: its root file system and its description.
func (r *Runtime) CreateContainer(_ context.Context, sandboxID string, config *runtimeapi.ContainerConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	r.mu.Lock()
	s, ok := r.sandboxes[sandboxID]
	ready := ok && s.ready
	r.mu.Unlock()
	if !ready {
		return "", fmt.Errorf("sandbox %s is not ready: %w", sandboxID, ErrNotFound)
	}
	img, err := r.images.Get(config.GetImage().GetImage())
	if err != nil {
		return "", err
	}
	id := newID()
	c := &container{
		id: id, sandbox: sandboxID, image: img.ID, dir: r.containerDir(id), config: config,
		created: r.cfg.Clock.Now(), exited: make(chan struct{}),
	}
	if config.GetLogPath() != "" && s.config.GetLogDirectory() != "" {
		c.logPath = filepath.Join(s.config.GetLogDirectory(), config.GetLogPath())
	}
	if err := r.prepare(c, s, img); err != nil {
		return "", errors.Join(err, removeDir(c.dir))
	}
	r.mu.Lock()
	r.containers[id] = c
	r.mu.Unlock()
	r.notify(runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT, c)
	return id, nil
}

// RemoveContainer kills a container that runs and removes all of it but its log. Removing twice is no error.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	c, err := r.container(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err := r.StopContainer(ctx, id, 0); err != nil {
		return err
	}
	if err := removeDir(c.dir); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.containers, id)
	r.mu.Unlock()
	r.notify(runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, c)
	return nil
}

// removeDir takes away a container that no shim runs any more, with whatever is left of it.
func removeDir(dir shim.Dir) error {
	if err := errors.Join(shim.Destroy(dir), unmount(dir.RootFS())); err != nil {
		return err
	}
	return mountpoint.RemoveAll(string(dir))
}

func (r *Runtime) container(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil, fmt.Errorf("container %s: %w", id, ErrNotFound)
	}
	return c, nil
}

func (r *Runtime) containersOf(sandboxID string) []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*container
	for _, c := range r.containers {
		if c.sandbox == sandboxID {
			list = append(list, c)
		}
	}
	return list
}

// ContainerStatus describes a container. When verbose, info has the pid of its first process on the node.
func (r *Runtime) ContainerStatus(_ context.Context, id string, verbose bool) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := r.container(id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	response := &runtimeapi.ContainerStatusResponse{Status: c.status()}
	if verbose {
		response.Info = map[string]string{"pid": fmt.Sprint(c.started.Container.PID)}
	}
	return response, nil
}

func (c *container) state() runtimeapi.ContainerState {
	switch {
	case c.exit != nil:
		return runtimeapi.ContainerState_CONTAINER_EXITED
	case !c.started.At.IsZero():
		return runtimeapi.ContainerState_CONTAINER_RUNNING
	}
	return runtimeapi.ContainerState_CONTAINER_CREATED
}

func (c *container) status() *runtimeapi.ContainerStatus {
	status := &runtimeapi.ContainerStatus{
		Id: c.id, Metadata: c.config.GetMetadata(), State: c.state(),
		CreatedAt: nanoseconds(c.created), StartedAt: nanoseconds(c.started.At),
		Image: c.config.GetImage(), ImageRef: c.image, ImageId: c.image,
		Labels: c.config.GetLabels(), Annotations: c.config.GetAnnotations(),
		Mounts: c.config.GetMounts(), LogPath: c.logPath,
	}
	if c.exit != nil {
		status.FinishedAt, status.ExitCode = nanoseconds(c.exit.At), int32(c.exit.Code)
		status.Reason, status.Message = reason(*c.exit), c.exit.Problem
	}
	return status
}

func reason(exit shim.Exit) string {
	switch {
	case exit.NotStarted:
		return "StartError"
	case exit.OOMKilled:
		return "OOMKilled"
	case exit.Code == 0:
		return "Completed"
	}
	return "Error"
}

// ListContainers lists the containers that filter lets through, all when it is nil.
func (r *Runtime) ListContainers(_ context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.Container
	for _, c := range r.containers {
		if filter.GetId() != "" && filter.GetId() != c.id ||
			filter.GetPodSandboxId() != "" && filter.GetPodSandboxId() != c.sandbox ||
			filter.GetState() != nil && filter.GetState().State != c.state() ||
			!selected(filter.GetLabelSelector(), c.config.GetLabels()) {
			continue
		}
		list = append(list, &runtimeapi.Container{
			Id: c.id, PodSandboxId: c.sandbox, Metadata: c.config.GetMetadata(), State: c.state(),
			Image: c.config.GetImage(), ImageRef: c.image, ImageId: c.image, CreatedAt: nanoseconds(c.created),
			Labels: c.config.GetLabels(), Annotations: c.config.GetAnnotations(),
		})
	}
	return list, nil
}
