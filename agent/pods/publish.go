package pods

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/supervise"
)

const (
	publishers     = 4
	publishTimeout = 10 * time.Second
	publishFirst   = 200 * time.Millisecond
	publishMax     = 10 * time.Second
)

// publisher writes pods' statuses to the API server, and deletes pods that have ended.
//
//  1. Of several statuses of a pod the newest is written, the ones between may be skipped.
//  2. A write that fails is tried again until it succeeds or the pod is gone, however long the masters are away.
//  3. A pod is deleted only after its last status was written.
type publisher struct {
	pods  client.Typed[*corev1.Pod]
	cache cache.Store
	log   *slog.Logger
	queue workqueue.TypedRateLimitingInterface[types.UID]

	mu      sync.Mutex
	pending map[types.UID]*publication
}

type publication struct {
	pod    *corev1.Pod
	status *corev1.PodStatus
	// done is called once the pod is gone from the cluster; set when this is its last status.
	done func()
}

func newPublisher(objects client.Objects, store cache.Store, c clock.Clock, log *slog.Logger) *publisher {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](publishFirst, publishMax)
	config := workqueue.TypedRateLimitingQueueConfig[types.UID]{}
	if ticking, ok := c.(clock.WithTicker); ok {
		config.Clock = ticking
	}
	return &publisher{
		pods: client.For[*corev1.Pod](objects), cache: store, log: log, pending: map[types.UID]*publication{},
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(limiter, config),
	}
}

// set makes status the pod's next one.
func (p *publisher) set(pod *corev1.Pod, status *corev1.PodStatus) {
	p.put(&publication{pod: pod, status: status})
}

// finish makes status the pod's last one, and has the pod deleted after it.
func (p *publisher) finish(pod *corev1.Pod, status *corev1.PodStatus, done func()) {
	p.put(&publication{pod: pod, status: status, done: done})
}

func (p *publisher) put(next *publication) {
	p.mu.Lock()
	if old := p.pending[next.pod.UID]; old == nil || old.done == nil {
		p.pending[next.pod.UID] = next
	}
	p.mu.Unlock()
	p.queue.Add(next.pod.UID)
}

// run writes until ctx ends.
func (p *publisher) run(ctx context.Context) {
	var writers sync.WaitGroup
	for range publishers {
		writers.Go(func() {
			for p.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	p.queue.ShutDown()
	writers.Wait()
}

func (p *publisher) next(ctx context.Context) bool {
	uid, closed := p.queue.Get()
	if closed {
		return false
	}
	defer p.queue.Done(uid)
	p.mu.Lock()
	work := p.pending[uid]
	p.mu.Unlock()
	if work == nil || ctx.Err() != nil {
		return true
	}
	if err := supervise.Call("pod-status", p.log, func() error { return p.write(ctx, work) }); err != nil {
		if ctx.Err() == nil {
			p.log.Warn("write a pod's status; it is tried again", "pod", work.pod.Namespace+"/"+work.pod.Name, "error", err)
		}
		p.queue.AddRateLimited(uid)
		return true
	}
	p.queue.Forget(uid)
	p.mu.Lock()
	if p.pending[uid] == work {
		delete(p.pending, uid)
	}
	p.mu.Unlock()
	if work.done != nil {
		work.done()
	}
	return true
}

// write brings the pod's status up to date; a pod that is gone needs none.
func (p *publisher) write(ctx context.Context, work *publication) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	gone, err := p.writeStatus(ctx, work)
	if err != nil || gone || work.done == nil {
		return err
	}
	now := int64(0)
	err = p.pods.Delete(ctx, work.pod.Namespace, work.pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &work.pod.UID},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // a conflict: another pod has the name now
		return nil
	}
	return err
}

func (p *publisher) writeStatus(ctx context.Context, work *publication) (gone bool, err error) {
	current, err := p.latest(ctx, work.pod, false)
	for attempt := 0; ; attempt++ {
		if err != nil {
			return false, err
		}
		if current == nil {
			return true, nil
		}
		next := merge(current, work.status)
		if equality.Semantic.DeepEqual(current.Status, next.Status) {
			return false, nil
		}
		_, err = p.pods.UpdateStatus(ctx, next)
		if err == nil {
			return false, nil
		}
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if !apierrors.IsConflict(err) || attempt == 3 {
			return false, err
		}
		current, err = p.latest(ctx, work.pod, true)
	}
}

// latest is the pod as the cluster has it, from the informer's cache when that will do; nil when it is gone.
func (p *publisher) latest(ctx context.Context, pod *corev1.Pod, fresh bool) (*corev1.Pod, error) {
	var current *corev1.Pod
	if obj, ok, _ := p.cache.GetByKey(pod.Namespace + "/" + pod.Name); ok && !fresh {
		current = obj.(*corev1.Pod)
	} else {
		var err error
		current, err = p.pods.Get(ctx, pod.Namespace, pod.Name)
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) && !p.bound(pod) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if current.UID != pod.UID {
		return nil, nil
	}
	return current, nil
}

// bound tells whether the cluster shows the pod as this node's. One that it doesn't show and that the node may not read is
// gone, and its name may be that of another node's pod by now.
func (p *publisher) bound(pod *corev1.Pod) bool {
	obj, ok, _ := p.cache.GetByKey(pod.Namespace + "/" + pod.Name)
	return ok && obj.(*corev1.Pod).UID == pod.UID
}

// merge puts the node's status into the pod and keeps the conditions that others set, and a phase that is final.
func merge(current *corev1.Pod, status *corev1.PodStatus) *corev1.Pod {
	next := current.DeepCopy()
	own := status.DeepCopy()
	for _, c := range current.Status.Conditions {
		if !nodesOwn[c.Type] {
			own.Conditions = replace(own.Conditions, c)
		}
	}
	for i, c := range own.Conditions {
		for _, old := range current.Status.Conditions {
			if old.Type == c.Type && old.Status == c.Status {
				own.Conditions[i].LastTransitionTime = old.LastTransitionTime
			}
		}
	}
	own.NominatedNodeName = current.Status.NominatedNodeName
	if terminal(current) { // said by another while this status was under way
		own.Phase, own.Reason, own.Message = current.Status.Phase, current.Status.Reason, current.Status.Message
	}
	next.Status = *own
	return next
}

var nodesOwn = map[corev1.PodConditionType]bool{
	corev1.PodReadyToStartContainers: true, corev1.PodInitialized: true, corev1.ContainersReady: true, corev1.PodReady: true, corev1.PodScheduled: true,
}

func replace(list []corev1.PodCondition, c corev1.PodCondition) []corev1.PodCondition {
	for i := range list {
		if list[i].Type == c.Type {
			list[i] = c
			return list
		}
	}
	return append(list, c)
}
