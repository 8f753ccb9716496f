package pods

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/ctlplane/ctlplane/agent/cgroup"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

// fakeRuntime is a container runtime in which containers run until the test ends them.
type fakeRuntime struct {
	clock *testclock.FakeClock

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at every change and every question
	ids        int
	sandboxes  map[string]*runtimeapi.PodSandboxStatus
	containers map[string]*fakeContainer
	listeners  []chan *runtimeapi.ContainerEventResponse
	eventsEnd  chan error // ends the events
	looks      int        // how often containers were listed
	stops      []int64    // graces of the stops so far
	stopped    []string
	stubborn   bool // containers end only when they are stopped with grace 0
	deaf       bool // stops are answered with success and do nothing
	exec       func(ctx context.Context, id string, command []string) error
	address    string // of the sandboxes to come
	startError string // why commands can't be executed
	faults     int    // starts that panic
}

type fakeContainer struct {
	status  *runtimeapi.ContainerStatus
	sandbox string
}

func newFakeRuntime(clock *testclock.FakeClock) *fakeRuntime {
	return &fakeRuntime{
		clock: clock, changed: make(chan struct{}), sandboxes: map[string]*runtimeapi.PodSandboxStatus{}, containers: map[string]*fakeContainer{},
		address: "10.0.0.1", exec: func(context.Context, string, []string) error { return nil },
	}
}

// touch tells the test that something happened; the caller holds the lock.
func (f *fakeRuntime) touch() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// until waits until ok, asked under the lock, is true.
func (f *fakeRuntime) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	timeout := time.After(60 * time.Second)
	for {
		f.mu.Lock()
		done, changed := ok(), f.changed
		f.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

func (f *fakeRuntime) tell(kind runtimeapi.ContainerEventType, c *fakeContainer) {
	for _, ch := range f.listeners {
		ch <- &runtimeapi.ContainerEventResponse{ContainerId: c.status.Id, ContainerEventType: kind, PodSandboxStatus: f.sandboxes[c.sandbox]}
	}
	f.touch()
}

// exit ends the newest run of a container.
func (f *fakeRuntime) exit(t *testing.T, name string, code int32) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.newest(name)
	if c == nil || c.status.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Fatalf("container %s does not run", name)
	}
	f.end(c, code)
}

func (f *fakeRuntime) end(c *fakeContainer, code int32) {
	c.status.State, c.status.ExitCode, c.status.FinishedAt = runtimeapi.ContainerState_CONTAINER_EXITED, code, f.clock.Now().UnixNano()
	f.tell(runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, c)
}

// newest is the latest run of a container; the caller holds the lock.
func (f *fakeRuntime) newest(name string) *fakeContainer {
	var found *fakeContainer
	for _, c := range f.containers {
		if c.status.Metadata.Name == name && (found == nil || c.status.Metadata.Attempt > found.status.Metadata.Attempt) {
			found = c
		}
	}
	return found
}

// runs says whether the given run of a container runs; the caller holds the lock.
func (f *fakeRuntime) runs(name string, attempt uint32) bool {
	c := f.newest(name)
	return c != nil && c.status.Metadata.Attempt == attempt && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING
}

// looked waits until the pod's worker has looked at the runtime twice more: then it acted on what there was before.
func (f *fakeRuntime) looked(t *testing.T, m *Manager, pod *corev1.Pod) {
	t.Helper()
	for range 2 {
		f.mu.Lock()
		before := f.looks
		f.mu.Unlock()
		m.wake(pod.UID)
		f.until(t, "the worker looks again", func() bool { return f.looks >= before+2 })
	}
}

func (f *fakeRuntime) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: "fake"}, nil
}
func (f *fakeRuntime) Status(context.Context, bool) (*runtimeapi.StatusResponse, error) {
	return &runtimeapi.StatusResponse{}, nil
}

func (f *fakeRuntime) RunPodSandbox(_ context.Context, config *runtimeapi.PodSandboxConfig, _ string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids++
	id := fmt.Sprintf("sandbox-%d", f.ids)
	f.sandboxes[id] = &runtimeapi.PodSandboxStatus{
		Id: id, Metadata: config.Metadata, State: runtimeapi.PodSandboxState_SANDBOX_READY, CreatedAt: f.clock.Now().UnixNano() + int64(f.ids),
		Network: &runtimeapi.PodSandboxNetworkStatus{Ip: f.address}, Labels: config.Labels, Annotations: config.Annotations,
	}
	f.touch()
	return id, nil
}

func (f *fakeRuntime) StopPodSandbox(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.containers {
		if c.sandbox == id && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			f.end(c, 137)
		}
	}
	if s, ok := f.sandboxes[id]; ok {
		f.sandboxes[id] = &runtimeapi.PodSandboxStatus{
			Id: id, Metadata: s.Metadata, State: runtimeapi.PodSandboxState_SANDBOX_NOTREADY, CreatedAt: s.CreatedAt, Labels: s.Labels, Annotations: s.Annotations,
		}
	}
	f.touch()
	return nil
}

func (f *fakeRuntime) RemovePodSandbox(ctx context.Context, id string) error {
	if err := f.StopPodSandbox(ctx, id); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for cid, c := range f.containers {
		if c.sandbox == id {
			delete(f.containers, cid)
		}
	}
	delete(f.sandboxes, id)
	f.touch()
	return nil
}

func (f *fakeRuntime) PodSandboxStatus(_ context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.sandboxes[id]
	if !ok {
		return nil, fmt.Errorf("no sandbox %s", id)
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: s}, nil
}

func (f *fakeRuntime) ListPodSandbox(_ context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []*runtimeapi.PodSandbox
	for _, s := range f.sandboxes {
		if filter == nil || filter.LabelSelector[labelPodUID] == s.Labels[labelPodUID] {
			list = append(list, &runtimeapi.PodSandbox{Id: s.Id, Metadata: s.Metadata, State: s.State, CreatedAt: s.CreatedAt, Labels: s.Labels, Annotations: s.Annotations})
		}
	}
	return list, nil
}

func (f *fakeRuntime) CreateContainer(_ context.Context, sandbox string, config *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids++
	id := fmt.Sprintf("container-%d", f.ids)
	f.containers[id] = &fakeContainer{sandbox: sandbox, status: &runtimeapi.ContainerStatus{
		Id: id, Metadata: config.Metadata, State: runtimeapi.ContainerState_CONTAINER_CREATED, CreatedAt: f.clock.Now().UnixNano(),
		Labels: config.Labels, Annotations: config.Annotations, LogPath: filepath.Join(pod.GetLogDirectory(), config.GetLogPath()),
	}}
	f.touch()
	return id, nil
}

func (f *fakeRuntime) StartContainer(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.faults > 0 {
		f.faults--
		panic("at the wrong time")
	}
	c := f.containers[id]
	if f.startError != "" {
		c.status.Reason, c.status.Message = "StartError", f.startError
		f.end(c, 128)
		return errors.New(f.startError)
	}
	c.status.State, c.status.StartedAt = runtimeapi.ContainerState_CONTAINER_RUNNING, f.clock.Now().UnixNano()
	f.tell(runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, c)
	return nil
}

func (f *fakeRuntime) StopContainer(ctx context.Context, id string, grace int64) error {
	f.mu.Lock()
	f.stops = append(f.stops, grace)
	c, ok := f.containers[id]
	if ok {
		f.stopped = append(f.stopped, c.status.Metadata.Name)
	}
	if f.deaf {
		ok = false
	}
	if ok && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING && (!f.stubborn || grace == 0) {
		f.end(c, 143)
	}
	f.touch()
	f.mu.Unlock()
	for ok {
		f.mu.Lock()
		running, changed := c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING, f.changed
		f.mu.Unlock()
		if !running {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (f *fakeRuntime) RemoveContainer(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.containers, id)
	f.touch()
	return nil
}

func (f *fakeRuntime) ListContainers(_ context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	f.touch()
	var list []*runtimeapi.Container
	for id, c := range f.containers {
		if filter == nil || filter.LabelSelector[labelPodUID] == c.status.Labels[labelPodUID] {
			list = append(list, &runtimeapi.Container{Id: id, PodSandboxId: c.sandbox, Metadata: c.status.Metadata, State: c.status.State, Labels: c.status.Labels})
		}
	}
	return list, nil
}

func (f *fakeRuntime) ContainerStatus(_ context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[id]
	if !ok {
		return nil, fmt.Errorf("no container %s", id)
	}
	s := c.status
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{
		Id: s.Id, Metadata: s.Metadata, State: s.State, CreatedAt: s.CreatedAt, StartedAt: s.StartedAt, FinishedAt: s.FinishedAt,
		ExitCode: s.ExitCode, Reason: s.Reason, Message: s.Message, Labels: s.Labels, Annotations: s.Annotations, LogPath: s.LogPath,
	}}, nil
}

func (f *fakeRuntime) ExecSync(ctx context.Context, id string, command []string, _ time.Duration) ([]byte, []byte, error) {
	return nil, nil, f.exec(ctx, id, command)
}

func (f *fakeRuntime) GetContainerEvents(ctx context.Context, ch chan *runtimeapi.ContainerEventResponse, established func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	f.mu.Lock()
	f.listeners = append(f.listeners, ch)
	ends := make(chan error)
	f.eventsEnd = ends
	f.touch()
	f.mu.Unlock()
	if established != nil {
		established(nil)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ends:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listeners = nil
	f.touch()
	return err
}

// fakeImages has every image.
type fakeImages struct{}

func (fakeImages) ListImages(context.Context, *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	return nil, nil
}
func (fakeImages) ImageStatus(_ context.Context, spec *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{Id: spec.Image}}, nil
}
func (fakeImages) PullImage(_ context.Context, spec *runtimeapi.ImageSpec, _ *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	return spec.Image, nil
}
func (fakeImages) RemoveImage(context.Context, *runtimeapi.ImageSpec) error { return nil }

// fakeGroups remembers control groups.
type fakeGroups struct {
	mu  sync.Mutex
	all map[string]cgroup.Resources
}

func (f *fakeGroups) Set(path string, r cgroup.Resources) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all[path] = r
	return nil
}

func (f *fakeGroups) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, path)
	return nil
}

func (f *fakeGroups) get(path string) (cgroup.Resources, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.all[path]
	return r, ok
}

type noEvents struct{}

func (noEvents) Event(runtime.Object, string, string, string) {}

// bench is a manager on a fake runtime, a fake clock and a cluster in memory.
type bench struct {
	t       *testing.T
	clock   *testclock.FakeClock
	runtime *fakeRuntime
	cluster *clienttest.Cluster
	manager *Manager
	groups  *fakeGroups
	leads   func(netip.Addr) bool
	dir     string
	stop    func()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	clock := testclock.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	b := &bench{t: t, clock: clock, runtime: newFakeRuntime(clock), cluster: clienttest.New(), groups: &fakeGroups{all: map[string]cgroup.Resources{}}, dir: t.TempDir()}
	b.cluster.Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

// start runs a manager; stop ends it, and another may be started after it.
func (b *bench) start() {
	capacity := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("10")}
	b.manager = New(Config{
		NodeName: "node-1", NodeIP: "192.0.2.1", Dir: b.dir, CgroupRoot: "test", Cgroups: b.groups, Objects: b.cluster, Runtime: b.runtime, Images: fakeImages{}, Events: noEvents{},
		Allocatable: func() corev1.ResourceList { return capacity }, Capacity: func() corev1.ResourceList { return capacity },
		Leads: b.leads, Clock: b.clock, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.manager.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
}

func (b *bench) create(pod *corev1.Pod) *corev1.Pod {
	b.t.Helper()
	created, err := client.For[*corev1.Pod](b.cluster).Create(b.t.Context(), pod)
	if err != nil {
		b.t.Fatal(err)
	}
	return created
}

// status waits until the pod in the cluster, nil when it is gone, is as ok wants it.
func (b *bench) status(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 60*time.Second)
	defer cancel()
	var last *corev1.Pod
	err := b.cluster.WaitUntil(ctx, func() bool {
		pod, err := client.For[*corev1.Pod](b.cluster).Get(ctx, "default", name)
		if err != nil {
			pod = nil
		}
		last = pod
		return ok(pod)
	})
	if err != nil {
		b.t.Fatalf("pod %s is not %s: %+v", name, what, last)
	}
	return last
}

func newPod(name string, policy corev1.RestartPolicy, containers ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: "node-1", RestartPolicy: policy},
	}
	for _, c := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c, Image: "image:v1"})
	}
	return pod
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
