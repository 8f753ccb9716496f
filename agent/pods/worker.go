package pods

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/supervise"
)

const (
	// resync is how often a pod is looked at though nothing is known to have happened; volumes that come from
	// objects are brought up to date then.
	resync = 60 * time.Second
	// retry is the wait after an error of the runtime.
	retry = 2 * time.Second
)

// worker drives one pod. Its goroutine alone calls the runtime to start things and owns all fields without a
// remark; kills and probes run beside it and wake it.
type worker struct {
	m    *Manager
	uid  types.UID
	log  *slog.Logger
	life context.Context // what runs beside the worker's looks lasts until this ends

	mu         sync.Mutex
	pod        *corev1.Pod        // guarded by mu: the newest that is known
	gone       bool               // guarded by mu: the API server does not have it any more
	deleted    bool               // guarded by mu: its final delete has been answered
	cancelWork context.CancelFunc // guarded by mu: ends slow work, such as a pull, when the pod is to end
	killing    map[string]*kill   // guarded by mu: the kills under way, by container ID
	probing    map[string]*probes // guarded by mu: by container ID

	wake       chan struct{}
	background sync.WaitGroup

	admitted   bool
	grouped    bool // its control group has what the pod asks for
	rejection  *rejection
	exits      map[string]*backoff // by container name: runs that ended
	starts     map[string]*backoff // by container name: starts that failed
	waiting    map[string]waiting  // by container name: why it does not run
	volumes    map[string]string
	volumesAt  time.Time
	startTime  time.Time
	overdue    bool // users have been told that the pod's deadline has passed
	finalizing bool
	remembered *corev1.Pod // as it is on disk
}

// waiting is why a container does not run, in the words that users know.
type waiting struct{ reason, message string }

func newWorker(ctx context.Context, m *Manager, pod *corev1.Pod, gone bool) *worker {
	return &worker{
		m: m, uid: pod.UID, life: ctx, log: m.log.With("pod", pod.Namespace+"/"+pod.Name), pod: pod, gone: gone,
		cancelWork: func() {}, killing: map[string]*kill{}, probing: map[string]*probes{}, wake: make(chan struct{}, 1),
		exits: map[string]*backoff{}, starts: map[string]*backoff{}, waiting: map[string]waiting{},
	}
}

// update gives the worker a newer version of its pod.
func (w *worker) update(pod *corev1.Pod) {
	w.mu.Lock()
	w.pod = pod
	if pod.DeletionTimestamp != nil {
		w.cancelWork()
	}
	w.mu.Unlock()
	w.wakeUp()
}

// disappear tells the worker that its pod was removed from the cluster, with no time to end when at once is set.
func (w *worker) disappear(atOnce bool) {
	w.mu.Lock()
	w.gone = true
	if atOnce {
		w.pod = w.pod.DeepCopy()
		w.pod.DeletionGracePeriodSeconds = new(int64)
	}
	w.cancelWork()
	w.mu.Unlock()
	w.wakeUp()
}

func (w *worker) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) current() (pod *corev1.Pod, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod, w.gone
}

// run drives the pod until it is gone from the node or the worker's life ends.
func (w *worker) run() {
	ctx := w.life
	defer w.background.Wait()
	defer w.stopProbes()
	for ctx.Err() == nil {
		begin := w.m.clock.Now()
		again, done := retry, false // after a panic: it is this look's failure
		supervise.Do("pod-worker", w.log, func() { again, done = w.sync(ctx) })
		if done {
			return
		}
		w.rest(ctx, begin.Add(again)) // the wait was found out some time during the look
	}
}

// rest waits until the pod is to be looked at again.
func (w *worker) rest(ctx context.Context, until time.Time) {
	timer := w.m.clock.NewTimer(until.Sub(w.m.clock.Now()))
	defer timer.Stop()
	if !w.m.clock.Now().Before(until) {
		return // also when the clock was moved on just before there was a timer
	}
	select {
	case <-w.wake:
	case <-timer.C():
	case <-ctx.Done():
	}
}

// sync takes the pod as far as it can now be taken. It returns when to look again, and whether there is
// nothing left to do for the pod on this node.
func (w *worker) sync(ctx context.Context) (again time.Duration, done bool) {
	pod, gone := w.current()
	over := w.killsOver()
	state, err := readState(ctx, w.m.runtime, w.uid)
	if err != nil {
		w.log.Error("ask the runtime about a pod", "error", err)
		return retry, false
	}
	w.forgetKills(over)
	w.observe(pod, state)
	if !gone && !w.finalizing {
		w.remember(pod)
	}
	if gone || pod.DeletionTimestamp != nil {
		return w.terminate(ctx, pod, gone, state)
	}
	if why := w.through(pod, state); why != "" {
		again = w.retire(ctx, pod, state, why)
	} else if w.stranded(pod, state) {
		again = w.leave(ctx, pod, state)
	} else {
		again = w.work(ctx, pod, state)
	}
	if state, err = readState(ctx, w.m.runtime, w.uid); err != nil {
		return retry, false
	}
	w.observe(pod, state)
	w.maintainProbes(ctx, pod, state)
	w.publish(pod, state)
	return again, false
}

// work does what the pod lacks, in a context that ends early when the pod is to end.
func (w *worker) work(ctx context.Context, pod *corev1.Pod, state *runtimeState) time.Duration {
	ctx, cancel := w.beginWork(ctx)
	defer cancel()
	w.cancelAtDeadline(ctx, cancel, pod)
	return w.untilDeadline(pod, w.drive(ctx, pod, state))
}

// beginWork makes the context of slow work: it ends early when the pod is to end.
func (w *worker) beginWork(ctx context.Context) (context.Context, context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	work, cancel := context.WithCancel(ctx)
	w.cancelWork = cancel
	if w.gone || w.pod.DeletionTimestamp != nil {
		cancel()
	}
	return work, cancel
}

// observe counts the runs that have ended since the last look, and forgets what no longer exists.
func (w *worker) observe(pod *corev1.Pod, state *runtimeState) {
	for _, c := range allContainers(pod) {
		newest := state.newest(c.Name)
		if newest.exited() {
			w.countExit(c, newest)
		}
		if newest.running() {
			delete(w.waiting, c.Name)
			delete(w.starts, c.Name)
		}
	}
}

func (w *worker) countExit(c *corev1.Container, run containerState) {
	b, ok := w.exits[c.Name]
	if !ok {
		// After a restart of the agent, earlier runs count by their number.
		b = &backoff{failures: int(run.GetMetadata().GetAttempt())}
		w.exits[c.Name] = b
	}
	ran := time.Duration(0)
	if run.GetStartedAt() != 0 {
		ran = time.Duration(run.GetFinishedAt() - run.GetStartedAt())
	}
	b.failed(run.GetId(), time.Unix(0, run.GetFinishedAt()), ran, true)
}
