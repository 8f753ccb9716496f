package pods

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/ctlplane/ctlplane/agent/probe"
)

// startError is a failure to start a container, under the name that users know it by.
type startError struct {
	reason string
	err    error
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// start runs a container: image, description, creation, start, post-start hook.
func (w *worker) start(ctx context.Context, pod *corev1.Pod, c *corev1.Container, state *runtimeState, sandbox *runtimeapi.PodSandboxStatus) error {
	if _, ok := w.waiting[c.Name]; !ok {
		w.waiting[c.Name] = waiting{reason: "ContainerCreating"}
	}
	attempt := nextAttempt(pod, c, state)
	id, err := w.startRun(ctx, pod, c, sandbox, attempt)
	if err == nil {
		delete(w.waiting, c.Name)
		delete(w.starts, c.Name)
		w.event(pod, c, corev1.EventTypeNormal, "Started", "Container started")
		return w.postStart(ctx, pod, c, id, sandbox.GetNetwork().GetIp())
	}
	if ctx.Err() != nil {
		return err
	}
	if id != "" && w.ranToItsEnd(ctx, id) {
		// The runtime counts it as a run that has ended: so do the status, the restart policy and the back-off.
		delete(w.waiting, c.Name)
		w.event(pod, c, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
		w.log.Warn("a container's command can't be executed", "container", c.Name, "error", err)
		w.wakeUp()
		return nil
	}
	reason := "RunContainerError"
	if failed := (*startError)(nil); errors.As(err, &failed) {
		reason = failed.reason
	}
	w.failed(pod, c, reason, err)
	return err
}

// failed takes note of a container that can't start, and holds its next start up: longer each time after a failed pull, which a
// registry has to answer.
func (w *worker) failed(pod *corev1.Pod, c *corev1.Container, reason string, err error) {
	w.waiting[c.Name] = waiting{reason, err.Error()}
	w.event(pod, c, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
	w.log.Warn("a container can't start", "container", c.Name, "reason", reason, "error", err)
	delays := w.backoffOf(w.starts, c.Name)
	if reason != reasonErrPull {
		delays.failures = 0 // it costs the node alone: what was missing may be there soon
	}
	delays.failed("", w.m.clock.Now(), 0, false)
}

// ranToItsEnd says whether the runtime has a container as one that has ended, though its start failed.
func (w *worker) ranToItsEnd(ctx context.Context, id string) bool {
	response, err := w.m.runtime.ContainerStatus(ctx, id, false)
	return err == nil && response.GetStatus().GetState() == runtimeapi.ContainerState_CONTAINER_EXITED
}

// nextAttempt numbers a container's runs; the API server remembers the number when the runtime lost it.
func nextAttempt(pod *corev1.Pod, c *corev1.Container, state *runtimeState) uint32 {
	if run := state.newest(c.Name); run.exists() {
		if run.State == runtimeapi.ContainerState_CONTAINER_CREATED {
			return run.GetMetadata().GetAttempt() // has never run
		}
		return run.GetMetadata().GetAttempt() + 1
	}
	for _, known := range append(append([]corev1.ContainerStatus{}, pod.Status.ContainerStatuses...), pod.Status.InitContainerStatuses...) {
		if known.Name == c.Name && known.ContainerID != "" {
			return uint32(known.RestartCount) + 1
		}
	}
	return 0
}

func (w *worker) startRun(ctx context.Context, pod *corev1.Pod, c *corev1.Container, sandbox *runtimeapi.PodSandboxStatus, attempt uint32) (string, error) {
	image, err := w.ensureImage(ctx, pod, c)
	if err != nil {
		return "", err
	}
	// What refers to the pod's own address needs it before the API server has been told.
	described := pod.DeepCopy()
	described.Status.PodIP, described.Status.HostIP = sandbox.GetNetwork().GetIp(), w.m.cfg.NodeIP
	if pod.Spec.HostNetwork {
		described.Status.PodIP = w.m.cfg.NodeIP
	}
	config, err := w.m.containerConfig(ctx, described, c, image, attempt, w.volumes)
	if err != nil {
		return "", &startError{"CreateContainerConfigError", err}
	}
	if err := w.removeUnstarted(ctx, pod, c); err != nil {
		return "", &startError{"CreateContainerError", err}
	}
	id, err := w.m.runtime.CreateContainer(ctx, sandbox.GetId(), config, w.m.sandboxConfig(pod, sandbox.GetMetadata().GetAttempt()))
	if err != nil {
		return "", &startError{"CreateContainerError", err}
	}
	w.event(pod, c, corev1.EventTypeNormal, "Created", "Container created")
	return id, w.m.runtime.StartContainer(ctx, id)
}

// removeUnstarted removes a container that was created and never started, because the agent was stopped.
func (w *worker) removeUnstarted(ctx context.Context, pod *corev1.Pod, c *corev1.Container) error {
	state, err := readState(ctx, w.m.runtime, pod.UID)
	if err != nil {
		return err
	}
	if run := state.newest(c.Name); run.exists() && run.State == runtimeapi.ContainerState_CONTAINER_CREATED {
		return w.m.removeRun(ctx, run)
	}
	return nil
}

// postStart runs the container's post-start hook; a container whose hook fails is killed.
func (w *worker) postStart(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id, ip string) error {
	if c.Lifecycle == nil || c.Lifecycle.PostStart == nil {
		return nil
	}
	err := w.hook(ctx, c, c.Lifecycle.PostStart, id, ip)
	if err == nil || ctx.Err() != nil {
		return err
	}
	w.event(pod, c, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed: "+err.Error())
	response, asked := w.m.runtime.ContainerStatus(ctx, id, false)
	if asked != nil {
		return errors.Join(err, asked)
	}
	w.kill(containerState{ContainerStatus: response.GetStatus()}, killOrder{
		grace: graceOf(pod), why: "its post-start hook failed", message: fmt.Sprintf("Container %s failed its post-start hook", c.Name), turn: true,
	})
	return err
}

// hook runs a lifecycle hook in or against a container.
func (w *worker) hook(ctx context.Context, c *corev1.Container, handler *corev1.LifecycleHandler, id, ip string) error {
	if handler.Sleep != nil {
		timer := w.m.clock.NewTimer(time.Duration(handler.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return w.target(c, id, ip).For(corev1.ProbeHandler{Exec: handler.Exec, HTTPGet: handler.HTTPGet, TCPSocket: handler.TCPSocket})(ctx)
}

func (w *worker) target(c *corev1.Container, id, ip string) probe.Target {
	return probe.Target{IP: ip, Ports: c.Ports, Exec: func(ctx context.Context, command []string) ([]byte, error) {
		var within time.Duration
		if deadline, ok := ctx.Deadline(); ok {
			within = time.Until(deadline)
		}
		stdout, stderr, err := w.m.runtime.ExecSync(ctx, id, command, within)
		return append(stdout, stderr...), err
	}}
}

// event tells users about the pod or one of its containers.
func (w *worker) event(pod *corev1.Pod, c *corev1.Container, kind, reason, message string) {
	var about runtime.Object = pod
	if c != nil {
		field := "spec.containers"
		for i := range pod.Spec.InitContainers {
			if &pod.Spec.InitContainers[i] == c {
				field = "spec.initContainers"
			}
		}
		about = &corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			ResourceVersion: pod.ResourceVersion, FieldPath: fmt.Sprintf("%s{%s}", field, c.Name),
		}
	}
	w.m.cfg.Events.Event(about, kind, reason, message)
}
