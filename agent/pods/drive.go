package pods

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// drive takes a pod that is to run as far as it can be taken now, and returns when to look again.
func (w *worker) drive(ctx context.Context, pod *corev1.Pod, state *runtimeState) time.Duration {
	if state.sandbox() != nil { // one that an agent started which knew no groups, too
		if err := w.ensureCgroup(pod); err != nil {
			w.log.Warn("a pod that runs is not bounded", "error", err)
		}
	}
	p := decide(pod, state, w.startedUp)
	again := resync
	if len(p.start) > 0 {
		again = w.startAll(ctx, pod, state, p.start)
	} else if w.m.clock.Since(w.volumesAt) >= resync {
		if err := w.mountVolumes(ctx, pod); err != nil {
			w.log.Warn("bring volumes up to date", "error", err)
		}
	}
	w.collect(ctx, pod, state)
	return again
}

// startAll starts what may start now, making the volumes and the sandbox first when they are not there.
func (w *worker) startAll(ctx context.Context, pod *corev1.Pod, state *runtimeState, containers []*corev1.Container) time.Duration {
	again := resync
	var due []*corev1.Container
	for _, c := range containers {
		if wait := w.holdUp(pod, c, state); wait > 0 {
			again = min(again, wait)
			continue
		}
		due = append(due, c)
	}
	if len(due) == 0 {
		return again
	}
	if err := unsupported(pod); err != nil {
		for _, c := range due {
			w.failed(pod, c, "CreateContainerConfigError", err)
			again = min(again, w.backoffOf(w.starts, c.Name).remaining(w.m.clock.Now()))
		}
		return again
	}
	w.publish(pod, state) // pulling may take long: users see at once that the node has taken the pod up
	if err := w.mountVolumes(ctx, pod); err != nil {
		w.podFailure(ctx, pod, due, "FailedMount", err)
		return min(again, backoffFirst)
	}
	sandbox, err := w.ensureSandbox(ctx, pod, state)
	if err != nil {
		w.podFailure(ctx, pod, due, "FailedCreatePodSandBox", err)
		return min(again, retry)
	}
	for _, c := range due {
		if ctx.Err() != nil {
			return 0
		}
		if err := w.start(ctx, pod, c, state, sandbox); err != nil {
			again = min(again, w.backoffOf(w.starts, c.Name).remaining(w.m.clock.Now()))
		} else {
			again = min(again, resync)
		}
	}
	return max(again, time.Millisecond)
}

// podFailure reports what keeps all of a pod's containers from starting.
func (w *worker) podFailure(ctx context.Context, pod *corev1.Pod, containers []*corev1.Container, reason string, err error) {
	if ctx.Err() != nil {
		return
	}
	w.log.Warn("a pod can't start", "reason", reason, "error", err)
	w.event(pod, nil, corev1.EventTypeWarning, reason, err.Error())
	for _, c := range containers {
		if _, ok := w.waiting[c.Name]; !ok {
			w.waiting[c.Name] = waiting{"ContainerCreating", err.Error()}
		}
	}
}

// holdUp is how long a container's last end or failure to start holds the next start up.
func (w *worker) holdUp(pod *corev1.Pod, c *corev1.Container, state *runtimeState) time.Duration {
	now := w.m.clock.Now()
	if b, ok := w.starts[c.Name]; ok {
		if wait := b.remaining(now); wait > 0 {
			if w.waiting[c.Name].reason == reasonErrPull {
				w.waiting[c.Name] = waiting{reasonPullBackOff, fmt.Sprintf("Back-off pulling image %q: %s", c.Image, w.waiting[c.Name].message)}
				w.event(pod, c, corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", c.Image))
			}
			return wait
		}
	}
	run := state.newest(c.Name)
	b, ok := w.exits[c.Name]
	if !ok || !run.exited() {
		return 0
	}
	wait := b.remaining(now)
	if wait > 0 && w.waiting[c.Name].reason != reasonCrashLoop {
		message := fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", b.current(true), c.Name, pod.Name, pod.Namespace, pod.UID)
		w.waiting[c.Name] = waiting{reasonCrashLoop, message}
		w.event(pod, c, corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", c.Name, pod.Name, pod.Namespace, pod.UID))
	}
	return wait
}

// The reasons of waiting that are compared with.
const (
	reasonCrashLoop   = "CrashLoopBackOff"
	reasonErrPull     = "ErrImagePull"
	reasonPullBackOff = "ImagePullBackOff"
)

func (w *worker) backoffOf(set map[string]*backoff, name string) *backoff {
	b, ok := set[name]
	if !ok {
		b = &backoff{}
		set[name] = b
	}
	return b
}

func (w *worker) mountVolumes(ctx context.Context, pod *corev1.Pod) error {
	paths, err := w.m.volumes.Setup(ctx, pod, w.m.podDir(pod.UID))
	if err != nil {
		return fmt.Errorf("MountVolume.SetUp failed: %w", err)
	}
	w.volumes, w.volumesAt = paths, w.m.clock.Now()
	return nil
}

// ensureCgroup gives the pod its control group, once in the life of a sandbox and of the agent.
func (w *worker) ensureCgroup(pod *corev1.Pod) error {
	if w.grouped {
		return nil
	}
	if err := w.m.setCgroups(pod); err != nil {
		return fmt.Errorf("make the pod's cgroup: %w", err)
	}
	w.grouped = true
	return nil
}

// ensureSandbox gives the pod's sandbox, making one when there is none that is ready.
func (w *worker) ensureSandbox(ctx context.Context, pod *corev1.Pod, state *runtimeState) (*runtimeapi.PodSandboxStatus, error) {
	if s := state.sandbox(); s != nil {
		return s, nil
	}
	w.grouped = false // what was there may be gone with the sandbox, or with the machine's power
	for _, s := range state.sandboxes {
		if err := w.m.runtime.StopPodSandbox(ctx, s.GetId()); err != nil {
			return nil, err
		}
	}
	attempt := uint32(0)
	if len(state.sandboxes) > 0 {
		attempt = state.sandboxes[0].GetMetadata().GetAttempt() + 1
		w.event(pod, nil, corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
	if err := w.ensureCgroup(pod); err != nil {
		return nil, err
	}
	id, err := w.m.runtime.RunPodSandbox(ctx, w.m.sandboxConfig(pod, attempt), "")
	if err != nil {
		return nil, fmt.Errorf("create the pod sandbox: %w", err)
	}
	response, err := w.m.runtime.PodSandboxStatus(ctx, id, false)
	if err != nil {
		return nil, err
	}
	return response.GetStatus(), nil
}
