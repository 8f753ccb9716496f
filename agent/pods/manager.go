// Package pods runs the pods that are bound to one node: one worker a pod drives what the container runtime
// has towards what the pod asks for, and tells the API server how it is going.
package pods

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/agent/cgroup"
	"github.com/ctlplane/ctlplane/agent/volume"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/supervise"
)

// Events takes reports for users, such as a *client.Recorder.
type Events interface {
	Event(obj runtime.Object, eventType, reason, message string)
}

// Config is what a Manager needs. All fields are required unless they say otherwise.
type Config struct {
	NodeName string
	NodeIP   string
	// Dir holds pods' volumes and logs.
	Dir string
	// CgroupRoot is the cgroup, relative to each hierarchy's mount, that pods' cgroups are made in.
	CgroupRoot string
	Cgroups    Cgroups
	Objects    client.Objects
	Runtime    Runtime
	Images     Images
	Events     Events
	// Allocatable is what the node has for pods, Capacity what it has in all.
	Allocatable, Capacity func() corev1.ResourceList
	// Leads, when set, tells whether traffic for a pod's address gets to this node.
	Leads func(ip netip.Addr) bool
	// ClusterDNS and ClusterDomain are what pods resolve names with; without ClusterDNS they use the node's.
	ClusterDNS    string
	ClusterDomain string
	Clock         clock.Clock
	Logger        *slog.Logger
}

// Manager runs the pods of a node.
//
//  1. A pod has one worker, which alone changes what the runtime has of it.
//  2. Until the API server has told once which pods there are, no pod is removed; those that are remembered from
//     an earlier run are looked after when it takes long.
//  3. When Run returns, no worker is left and containers run on.
type Manager struct {
	cfg             Config
	log             *slog.Logger
	runtime         Runtime
	clock           clock.Clock
	podInformer     cache.SharedIndexInformer
	serviceInformer cache.SharedIndexInformer
	objects         *objects
	facts           facts
	volumes         *volume.Mounter
	statuses        *publisher
	admission       admission
	groups          groups

	mu      sync.Mutex
	workers map[types.UID]*worker
	running sync.WaitGroup
	closed  bool
}

// New makes a manager; Run starts it.
func New(cfg Config) *Manager {
	m := &Manager{
		cfg: cfg, log: cfg.Logger, runtime: cfg.Runtime, clock: cfg.Clock,
		objects:   newObjects(cfg.Objects),
		facts:     facts{nodeName: cfg.NodeName, nodeIP: cfg.NodeIP, allocatable: cfg.Allocatable},
		admission: admission{admitted: map[types.UID]bool{}}, groups: groups{last: map[string]cgroup.Resources{}},
		workers: map[types.UID]*worker{},
	}
	m.volumes = volume.New(m.objects, m.facts)
	onNode := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", cfg.NodeName).String()
	}
	m.podInformer = client.NewInformer[*corev1.Pod](cfg.Objects, onNode)
	m.serviceInformer = client.NewInformer[*corev1.Service](cfg.Objects, nil)
	m.statuses = newPublisher(cfg.Objects, m.podInformer.GetStore(), cfg.Clock, cfg.Logger)
	return m
}

// Run runs pods until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	registration, err := m.podInformer.AddEventHandler(m.handlers(ctx))
	if err != nil {
		return err
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	defer m.close()
	for _, part := range []func(context.Context){
		m.podInformer.RunWithContext, m.serviceInformer.RunWithContext, m.statuses.run, m.follow,
	} {
		parts.Go(func() { part(ctx) })
	}
	defer cancel()
	if m.begin(ctx, registration.HasSynced, m.serviceInformer.HasSynced) {
		m.adoptOrphans(ctx)
	}
	<-ctx.Done()
	return nil
}

// close waits for the workers and lets no more come.
func (m *Manager) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.running.Wait()
}

func (m *Manager) handlers(ctx context.Context) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { m.changed(ctx, obj.(*corev1.Pod)) },
		UpdateFunc: func(_, obj any) { m.changed(ctx, obj.(*corev1.Pod)) },
		DeleteFunc: func(obj any) {
			unknown, missed := obj.(cache.DeletedFinalStateUnknown)
			if missed {
				obj = unknown.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok {
				m.gone(pod, !missed)
			}
		},
	}
}

// changed tells a pod's worker what the pod is now, starting one when there is none.
func (m *Manager) changed(ctx context.Context, pod *corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w, ok := m.workers[pod.UID]; ok {
		w.update(pod)
		return
	}
	m.start(ctx, pod, false)
}

// start begins to work on a pod; the caller holds the lock.
func (m *Manager) start(ctx context.Context, pod *corev1.Pod, gone bool) {
	if m.closed {
		return
	}
	w := newWorker(ctx, m, pod, gone)
	m.workers[pod.UID] = w
	m.running.Go(func() {
		w.run()
		m.dismissRoom(pod.UID)
		if err := m.weighClasses(); err != nil {
			m.log.Warn("weigh the classes of pods without one that is gone", "error", err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.workers, pod.UID)
	})
}

// gone tells a pod's worker that the cluster has removed the pod. The API server does that before the node says that
// the pod has ended only when the pod is given no time to end; when the removal itself was not seen, the pod gets
// its time.
func (m *Manager) gone(pod *corev1.Pod, seen bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w, ok := m.workers[pod.UID]; ok {
		w.disappear(seen)
	}
}

// follow wakes the worker of each pod in which a container starts or ends.
func (m *Manager) follow(ctx context.Context) {
	events := make(chan *runtimeapi.ContainerEventResponse, 1024)
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { supervise.Again(ctx, "runtime-events", m.log, func() { m.listen(ctx, events) }) })
	for {
		select {
		case event := <-events:
			m.wake(types.UID(event.GetPodSandboxStatus().GetLabels()[labelPodUID]))
		case <-ctx.Done():
			return
		}
	}
}

// The wait before the runtime's events are asked for again, which doubles, and for how long they have to have come
// for the next wait to be the first again.
const (
	listenFirst = 100 * time.Millisecond
	listenMax   = 10 * time.Second
)

// listen has the runtime send its events until ctx ends. When they end before, they are asked for again, and all
// pods are looked at then for what happened meanwhile.
func (m *Manager) listen(ctx context.Context, events chan *runtimeapi.ContainerEventResponse) {
	for wait := listenFirst; ; wait = min(2*wait, listenMax) {
		begun := m.clock.Now()
		err := m.runtime.GetContainerEvents(ctx, events, func(runtimeapi.RuntimeService_GetContainerEventsClient) { m.wakeAll() })
		if ctx.Err() != nil {
			return
		}
		m.log.Warn("the runtime's events ended; they are asked for again", "error", err)
		if m.clock.Since(begun) > listenMax {
			wait = listenFirst
		}
		timer := m.clock.NewTimer(wait)
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// wakeAll has every pod looked at.
func (m *Manager) wakeAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.workers {
		w.wakeUp()
	}
}

func (m *Manager) wake(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w, ok := m.workers[uid]; ok {
		w.wakeUp()
	}
}

// services are the cluster's services.
func (m *Manager) services() []*corev1.Service {
	var list []*corev1.Service
	for _, obj := range m.serviceInformer.GetStore().List() {
		list = append(list, obj.(*corev1.Service))
	}
	return list
}

// Pods are the pods of the node as their workers know them, ordered by nothing.
func (m *Manager) Pods() []*corev1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*corev1.Pod
	for _, w := range m.workers {
		pod, gone := w.current()
		if !gone {
			list = append(list, pod)
		}
	}
	return list
}

// podDir is where a pod's volumes and files are, logDir where its logs are.
func (m *Manager) podDir(uid types.UID) string { return filepath.Join(m.cfg.Dir, "pods", string(uid)) }

func (m *Manager) logsDir() string { return filepath.Join(m.cfg.Dir, "logs") }

func (m *Manager) logDir(pod *corev1.Pod) string {
	return filepath.Join(m.logsDir(), pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}
