package pods

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/agent/record"
)

// preStopRecord says that the pre-stop hook of one run of a container was begun.
type preStopRecord struct {
	Run   string    `json:"run"`
	Began time.Time `json:"began"`
}

// preStop runs a container's pre-stop hook, no longer than its grace period. The hook of a run begins once: one that an agent before
// this one has begun is not begun again, whatever became of it, but for a sleep, of which the rest is slept.
func (w *worker) preStop(ctx context.Context, pod *corev1.Pod, c *corev1.Container, run containerState, grace int64) {
	if c == nil || c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return
	}
	handler := c.Lifecycle.PreStop
	began, again := w.beginPreStop(pod.UID, c.Name, run.GetId())
	if again {
		if handler = restOf(handler, w.m.clock.Since(began)); handler == nil {
			w.log.Info("a pre-stop hook was begun before and is not run again", "container", c.Name, "began", began)
			return
		}
	}
	hook, cancel := context.WithTimeout(ctx, seconds(grace))
	defer cancel()
	if err := w.hook(hook, c, handler, run.GetId(), pod.Status.PodIP); err != nil && ctx.Err() == nil {
		w.event(pod, c, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed: "+err.Error())
	}
}

// beginPreStop notes on the disk, before it runs, that the hook of a run begins. It gives when that was for one that has begun before.
func (w *worker) beginPreStop(uid types.UID, container, run string) (began time.Time, again bool) {
	path := filepath.Join(w.m.podDir(uid), "prestop-"+container+".json")
	var known preStopRecord
	err := record.Read(path, &known)
	if err == nil && known.Run == run {
		return known.Began, true
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.log.Warn("read whether a pre-stop hook was begun", "container", container, "error", err)
	}
	err = os.MkdirAll(filepath.Dir(path), 0o750)
	if err == nil {
		err = record.Write(path, preStopRecord{Run: run, Began: w.m.clock.Now()})
	}
	if err != nil {
		w.log.Warn("note that a pre-stop hook begins: it is run again if the agent restarts meanwhile", "container", container, "error", err)
	}
	return time.Time{}, false
}

// restOf is what is left to do of a hook that was begun some time ago; nil when that is nothing.
func restOf(handler *corev1.LifecycleHandler, ago time.Duration) *corev1.LifecycleHandler {
	if handler.Sleep == nil {
		return nil
	}
	left := seconds(handler.Sleep.Seconds) - max(ago, 0)
	if left <= 0 {
		return nil
	}
	return &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: int64((left + time.Second - 1) / time.Second)}}
}
