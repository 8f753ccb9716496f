package pods

import (
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-client/pkg/logs"
	"k8s.io/klog/v2"
)

// ErrNoLogs says that a container has no log to show.
var ErrNoLogs = errors.New("no logs")

// Logs writes the log of a container's run, the one before the last when opts.Previous is set, to out. One that is followed begins
// with a write of nothing, once it is found.
func (m *Manager) Logs(ctx context.Context, namespace, name, container string, opts *corev1.PodLogOptions, out io.Writer) error {
	pod := m.find(namespace, name)
	if pod == nil {
		return fmt.Errorf("%w: pod %s/%s is not on node %s", ErrNoLogs, namespace, name, m.cfg.NodeName)
	}
	if findContainer(pod, container) == nil {
		return fmt.Errorf("%w: pod %s/%s has no container %q", ErrNoLogs, namespace, name, container)
	}
	run, err := m.logged(ctx, pod.UID, container, opts.Previous)
	if err != nil {
		return fmt.Errorf("container %q in pod %q: %w", container, name, err)
	}
	read := &logs.LogOptions{TailLines: opts.TailLines, LimitBytes: opts.LimitBytes, Follow: opts.Follow, Timestamp: opts.Timestamps}
	switch {
	case opts.SinceTime != nil:
		read.Since = opts.SinceTime.Time
	case opts.SinceSeconds != nil:
		read.Since = m.clock.Now().Add(-seconds(*opts.SinceSeconds))
	}
	if opts.Follow {
		if _, err := out.Write(nil); err != nil { // there is a log, whenever its next line comes
			return err
		}
	}
	stdout, stderr := streams(opts.Stream, out)
	// What fails is in the error. It is often only that the reader has left, of which CRI's code makes an error in the log.
	return logs.ReadLogs(klog.NewContext(ctx, klog.Logger{}), run.GetLogPath(), run.GetId(), read, statusOnly{runtime: m.runtime}, stdout, stderr)
}

// streams are where the lines of each stream go: to out, or nowhere when only the other stream is asked for.
func streams(wanted *string, out io.Writer) (stdout, stderr io.Writer) {
	switch {
	case wanted != nil && *wanted == corev1.LogStreamStdout:
		return out, nil
	case wanted != nil && *wanted == corev1.LogStreamStderr:
		return nil, out
	}
	return out, out
}

// logged is the run whose log is asked for.
func (m *Manager) logged(ctx context.Context, uid types.UID, container string, previous bool) (containerState, error) {
	state, err := readState(ctx, m.runtime, uid)
	if err != nil {
		return containerState{}, err
	}
	runs := state.containers[container]
	if len(runs) > 0 && runs[0].State == runtimeapi.ContainerState_CONTAINER_CREATED {
		runs = runs[1:]
	}
	if previous && len(runs) > 0 {
		runs = runs[1:]
	}
	switch {
	case len(runs) > 0:
		return runs[0], nil
	case previous:
		return containerState{}, fmt.Errorf("%w: previous terminated container not found", ErrNoLogs)
	}
	return containerState{}, fmt.Errorf("%w: it is waiting to start", ErrNoLogs)
}

func (m *Manager) find(namespace, name string) *corev1.Pod {
	for _, pod := range m.Pods() {
		if pod.Namespace == namespace && pod.Name == name {
			return pod
		}
	}
	return nil
}

// statusOnly is as much of a runtime service as reading logs asks of one: whether the container still runs.
type statusOnly struct {
	internalapi.RuntimeService
	runtime Runtime
}

// ContainerStatus is the runtime's answer.
func (s statusOnly) ContainerStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.ContainerStatusResponse, error) {
	return s.runtime.ContainerStatus(ctx, id, verbose)
}
