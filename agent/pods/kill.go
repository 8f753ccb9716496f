package pods

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/supervise"
)

const (
	// defaultGrace is the seconds that a container has to end when its pod does not say.
	defaultGrace = corev1.DefaultTerminationGracePeriodSeconds
	// minGrace is what is left for a container's own end after its pre-stop hook and the containers that end
	// before it, however long those took.
	minGrace = 2
	// killRetryMax bounds the wait, which doubles from retry, between tries to end a container that does not.
	killRetryMax = time.Minute
)

// graceOf is the seconds that a pod's containers have to end.
func graceOf(pod *corev1.Pod) int64 {
	if pod.DeletionGracePeriodSeconds != nil {
		return max(*pod.DeletionGracePeriodSeconds, 0)
	}
	return max(ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, defaultGrace), 0)
}

// kill is the end of one container under way.
//
//  1. A container has at most one. It lasts until the container is seen to have ended or the agent stops, whatever
//     the runtime answers meanwhile: nothing begins it anew.
//  2. The pre-stop hook, the wait for the container's turn and its own end share one grace period. Without a
//     grace period there is neither hook nor turn.
//  3. Another kill of the same container replaces it only when that leaves less time, and runs no hook again.
type kill struct {
	grace  int64
	until  time.Time     // when the grace period is over
	turn   chan struct{} // closed when no container that may need this one runs
	came   bool          // turn is closed; guarded by the worker's mutex
	over   bool          // there is nothing left to do; guarded by the worker's mutex
	ctx    context.Context
	cancel context.CancelFunc
}

// comes tells that the container's turn has come; the caller holds the worker's lock.
func (k *kill) comes() {
	if !k.came {
		k.came = true
		close(k.turn)
	}
}

// left is the seconds that remain for the container's own end.
func (k *kill) left(now time.Time) int64 {
	if k.grace <= 0 {
		return 0
	}
	return max(int64((k.until.Sub(now)+time.Second-1)/time.Second), minGrace)
}

// killOrder says how a container is to be killed.
type killOrder struct {
	grace int64     // seconds
	until time.Time // when the grace period is over; zero: it begins now
	// why is for the log; message is what users are told.
	why, message string
	// turn says that no container that may need this one runs.
	turn bool
}

// kill ends a container beside the worker, which is woken afterwards.
func (w *worker) kill(run containerState, order killOrder) {
	k, old := w.claimKill(run.GetId(), order)
	if k == nil {
		return
	}
	pod, _ := w.current()
	name := run.GetLabels()[labelContainerName]
	c := findContainer(pod, name)
	if old == nil {
		w.log.Info("stop a container", "container", name, "reason", order.why, "grace", order.grace)
		if c != nil {
			w.event(pod, c, corev1.EventTypeNormal, "Killing", order.message)
		}
	}
	w.stopProbesOf(run.GetId())
	w.background.Go(func() {
		defer k.cancel()
		if old == nil && order.grace > 0 {
			supervise.Do("pod-worker", w.log, func() { w.preStop(k.ctx, pod, c, run, order.grace) })
		}
		supervise.Again(k.ctx, "pod-worker", w.log, func() { w.end(k, run) })
		w.mu.Lock()
		k.over = true
		w.mu.Unlock()
		w.wakeUp()
	})
}

// killsOver are the kills that have done what they can. They are forgotten once the runtime has been asked
// again: what was known before may still show their containers running.
func (w *worker) killsOver() map[string]*kill {
	w.mu.Lock()
	defer w.mu.Unlock()
	over := map[string]*kill{}
	for id, k := range w.killing {
		if k.over {
			over[id] = k
		}
	}
	return over
}

func (w *worker) forgetKills(over map[string]*kill) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, k := range over {
		if w.killing[id] == k {
			delete(w.killing, id)
		}
	}
}

// claimKill makes the kill that the order asks for, and gives the one that it replaces. There is none to make
// when the one under way leaves no more time; that one learns that its turn has come.
func (w *worker) claimKill(id string, order killOrder) (k, old *kill) {
	if order.until.IsZero() {
		order.until = w.m.clock.Now().Add(seconds(order.grace))
	}
	k = &kill{grace: order.grace, until: order.until, turn: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if old = w.killing[id]; old != nil {
		if order.turn {
			old.comes()
		}
		if !k.until.Before(old.until) {
			return nil, old
		}
		old.cancel()
	}
	if order.turn {
		k.comes()
	}
	k.ctx, k.cancel = context.WithCancel(w.life)
	w.killing[id] = k
	return k, old
}

// end stops a container once its turn has come or its grace period is over, until it has ended, the kill is replaced or
// the agent stops.
func (w *worker) end(k *kill, run containerState) {
	ctx := k.ctx
	if k.grace > 0 {
		timer := w.m.clock.NewTimer(k.until.Sub(w.m.clock.Now()))
		select {
		case <-k.turn:
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
	}
	grace := k.left(w.m.clock.Now())
	for wait := retry; ctx.Err() == nil; wait = min(2*wait, killRetryMax) {
		err := w.m.runtime.StopContainer(ctx, run.GetId(), grace)
		if err == nil {
			err = w.stillRuns(ctx, run.GetId())
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		w.log.Error("a container does not stop; it is tried again", "container", run.GetLabels()[labelContainerName], "error", err)
		timer := w.m.clock.NewTimer(wait)
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
		grace = 0
		if now := w.m.clock.Now(); k.until.After(now) {
			grace = k.left(now)
		}
	}
}

// stillRuns is an error when a container runs that was stopped. One that can't be asked about is left to the
// worker's next look.
func (w *worker) stillRuns(ctx context.Context, id string) error {
	response, err := w.m.runtime.ContainerStatus(ctx, id, false)
	if err == nil && response.GetStatus().GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING {
		return fmt.Errorf("the runtime has stopped container %s, and it runs", id)
	}
	return nil
}

func findContainer(pod *corev1.Pod, name string) *corev1.Container {
	for _, c := range allContainers(pod) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
