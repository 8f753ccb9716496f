package pods

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/agent/probe"
	"github.com/ctlplane/ctlplane/supervise"
)

// probes are what is known of one running container by asking it.
type probes struct {
	cancel context.CancelFunc

	mu      sync.Mutex
	started bool // the startup probe has succeeded, or there is none
	ready   bool // the readiness probe succeeds, or there is none
}

func (p *probes) startedUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}

func (p *probes) isReady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started && p.ready
}

// startedUp says whether a running container's startup probe has succeeded.
func (w *worker) startedUp(id string) bool {
	w.mu.Lock()
	p, ok := w.probing[id]
	w.mu.Unlock()
	return ok && p.startedUp()
}

// readyNow says whether a running container is ready.
func (w *worker) readyNow(id string) bool {
	w.mu.Lock()
	p, ok := w.probing[id]
	_, dying := w.killing[id]
	w.mu.Unlock()
	return ok && !dying && p.isReady()
}

// maintainProbes probes each running container, and no other.
func (w *worker) maintainProbes(ctx context.Context, pod *corev1.Pod, state *runtimeState) {
	live := map[string]bool{}
	for _, c := range allContainers(pod) {
		run := state.newest(c.Name)
		if !run.running() {
			continue
		}
		live[run.GetId()] = true
		w.mu.Lock()
		_, known := w.probing[run.GetId()]
		_, dying := w.killing[run.GetId()]
		w.mu.Unlock()
		if !known && !dying {
			w.startProbes(ctx, pod, c, run, state.ip())
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, p := range w.probing {
		if !live[id] {
			p.cancel()
			delete(w.probing, id)
		}
	}
}

func (w *worker) startProbes(ctx context.Context, pod *corev1.Pod, c *corev1.Container, run containerState, ip string) {
	asking, cancel := context.WithCancel(ctx)
	p := &probes{cancel: cancel, started: c.StartupProbe == nil, ready: c.ReadinessProbe == nil}
	// A container that was ready when the agent stopped has not become unready by that.
	if known := knownStatus(pod, c.Name); known != nil && known.ContainerID == w.m.containerID(run.GetId()) {
		p.started = p.started || ptr.Deref(known.Started, false)
		p.ready = p.ready || known.Ready
	}
	w.mu.Lock()
	w.probing[run.GetId()] = p
	w.mu.Unlock()
	if pod.Spec.HostNetwork {
		ip = w.m.cfg.NodeIP
	}
	for kind, spec := range map[probe.Kind]*corev1.Probe{
		probe.Startup: c.StartupProbe, probe.Liveness: c.LivenessProbe, probe.Readiness: c.ReadinessProbe,
	} {
		if spec == nil {
			continue
		}
		runner := &probe.Runner{
			Kind: kind, Spec: spec, Check: w.target(c, run.GetId(), ip).For(spec.ProbeHandler),
			Started: time.Unix(0, run.GetStartedAt()), Clock: w.m.clock,
			Gate: func() bool { return p.startedUp() != (kind == probe.Startup) },
			Failed: func(kind probe.Kind, err error) {
				w.event(pod, c, corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe failed: %s", kind, err))
			},
			Report: func(result probe.Result) { w.probed(pod, c, run, p, spec, result) },
		}
		w.background.Go(func() { supervise.Again(asking, "probe", w.log, func() { runner.Run(asking) }) })
	}
}

func knownStatus(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// probed takes note of what a probe found, and kills a container that does not live.
func (w *worker) probed(pod *corev1.Pod, c *corev1.Container, run containerState, p *probes, spec *corev1.Probe, result probe.Result) {
	p.mu.Lock()
	switch {
	case result.Kind == probe.Readiness:
		p.ready = result.Success
	case result.Kind == probe.Startup && result.Success:
		p.started = true
	}
	p.mu.Unlock()
	if !result.Success && result.Kind != probe.Readiness {
		grace := ptr.Deref(spec.TerminationGracePeriodSeconds, graceOf(pod))
		why := fmt.Sprintf("failed %s probe, will be restarted", lower(result.Kind))
		w.kill(run, killOrder{grace: grace, why: why, message: fmt.Sprintf("Container %s %s", c.Name, why), turn: true})
	}
	w.wakeUp()
}

func lower(kind probe.Kind) string {
	return map[probe.Kind]string{probe.Startup: "startup", probe.Liveness: "liveness", probe.Readiness: "readiness"}[kind]
}

func (w *worker) stopProbesOf(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, ok := w.probing[id]; ok {
		p.cancel()
	}
}

func (w *worker) stopProbes() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, p := range w.probing {
		p.cancel()
		delete(w.probing, id)
	}
}
