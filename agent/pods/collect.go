package pods

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/agent/mountpoint"
)

// collect removes runs that neither the status nor the logs of the pod need: all but a container's last two,
// and sandboxes without containers but the one in use.
func (w *worker) collect(ctx context.Context, pod *corev1.Pod, state *runtimeState) {
	inUse := map[string]bool{state.sandbox().GetId(): true}
	for _, runs := range state.containers {
		for i, run := range runs {
			if i < 2 || run.running() {
				inUse[run.sandbox] = true
				continue
			}
			if err := w.m.removeRun(ctx, run); err != nil {
				w.log.Warn("remove an old container", "container", run.GetId(), "error", err)
			}
		}
	}
	for i, s := range state.sandboxes {
		if i == 0 || inUse[s.GetId()] {
			continue
		}
		if err := w.m.runtime.RemovePodSandbox(ctx, s.GetId()); err != nil {
			w.log.Warn("remove an old sandbox", "sandbox", s.GetId(), "error", err)
		}
	}
}

// removeRun removes a container with all that is kept of its run: its log with the files that were rotated out of
// it, its termination message and its sub paths.
func (m *Manager) removeRun(ctx context.Context, run containerState) error {
	if err := m.runtime.RemoveContainer(ctx, run.GetId()); err != nil {
		return err
	}
	paths := append(logFiles(run.GetLogPath()), run.GetAnnotations()[annotationMessagePath])
	var failed []error
	for _, path := range paths {
		if err := os.Remove(path); path != "" && !errors.Is(err, os.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	uid, name := types.UID(run.GetLabels()[labelPodUID]), run.GetLabels()[labelContainerName]
	return errors.Join(append(failed, mountpoint.RemoveAll(m.subPaths(uid, name, run.GetMetadata().GetAttempt())))...)
}

// logFiles are a run's log file and those that were rotated out of it: what has its name, or that and a dot before
// something else.
func logFiles(path string) []string {
	if path == "" {
		return nil
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil
	}
	var list []string
	for _, entry := range entries {
		if rest, ok := strings.CutPrefix(entry.Name(), filepath.Base(path)); ok && (rest == "" || rest[0] == '.') {
			list = append(list, filepath.Join(filepath.Dir(path), entry.Name()))
		}
	}
	return list
}

// removeLeftovers removes the volumes and logs of pods that nothing is known of; the caller holds the lock.
func (m *Manager) removeLeftovers() {
	for _, of := range []struct {
		dir string
		uid func(name string) types.UID
	}{
		{m.podDir(""), func(name string) types.UID { return types.UID(name) }},
		{m.logsDir(), func(name string) types.UID { return types.UID(name[strings.LastIndexByte(name, '_')+1:]) }},
	} {
		entries, err := os.ReadDir(of.dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			m.log.Warn("look for what is left of pods", "error", err)
		}
		for _, entry := range entries {
			if _, ok := m.workers[of.uid(entry.Name())]; ok {
				continue
			}
			if err := mountpoint.RemoveAll(filepath.Join(of.dir, entry.Name())); err != nil {
				m.log.Warn("remove what is left of a pod", "error", err)
			}
		}
	}
}
