// Package podgc removes the pods that nobody else will: those of nodes that are no more, those that are being deleted on nodes that
// are out of service or that never got a node, and the oldest of too many that have ended.
package podgc

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/podstate"
)

// Options are the pod garbage controller's own.
type Options struct {
	// Quarantine is how long a node must be missing before its pods are removed; 0 means 40 s. A node
	// that registers anew is missing for a moment.
	Quarantine time.Duration
	// KeepEnded is how many pods that have ended are kept; 0 means 12500.
	KeepEnded int
	// Every is how often the ended pods are counted; 0 means 20 s.
	Every time.Duration
}

func (o Options) withDefaults() Options {
	if o.Quarantine == 0 {
		o.Quarantine = 40 * time.Second
	}
	if o.KeepEnded == 0 {
		o.KeepEnded = 12500
	}
	if o.Every == 0 {
		o.Every = 20 * time.Second
	}
	return o
}

// Controller is the pod garbage controller.
type Controller struct {
	options Options
	loop    *loop.Loop[loop.Key]
	clock   clock.PassiveClock
	pods    *cached.Kind[*corev1.Pod]
	nodes   *cached.Kind[*corev1.Node]
	// missing is since when each node that pods are bound to has been missing. Only the loop's one worker
	// uses it.
	missing map[string]time.Time
}

// all is the one key of the loop: everything is looked at together, and seldom.
var all = loop.Key{Name: "pods"}

// New makes the controller over informers that aren't running yet.
func New(informers *client.Informers, objects client.Objects, options Options, common loop.Options) *Controller {
	c := &Controller{
		options: options.withDefaults(),
		pods:    cached.New[*corev1.Pod](informers, objects),
		nodes:   cached.New[*corev1.Node](informers, objects),
		missing: map[string]time.Time{},
	}
	common.Workers = 1
	c.loop = loop.New("podgc", informers, common, func(ctx context.Context, _ loop.Key) (time.Duration, error) {
		return c.options.Every, c.collect(ctx)
	})
	c.clock = c.loop.Options().Clock
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	c.loop.Add(all)
	return c.loop.Run(ctx)
}

// collect removes all garbage that there is now.
func (c *Controller) collect(ctx context.Context) error {
	c.findMissing()
	var ended []*corev1.Pod
	for _, pod := range c.pods.All() {
		lost, err := c.lost(ctx, pod)
		if err != nil {
			return err
		}
		switch {
		case lost:
			err = c.removeFailed(ctx, pod, "its node is no more")
		case pod.DeletionTimestamp != nil && c.outOfService(pod.Spec.NodeName):
			err = c.removeFailed(ctx, pod, "its node is out of service")
		case pod.DeletionTimestamp != nil && pod.Spec.NodeName == "":
			err = c.remove(ctx, pod, "it was deleted before it had a node")
		case podstate.Ended(pod) && pod.DeletionTimestamp == nil:
			ended = append(ended, pod)
		}
		if err != nil {
			return err
		}
	}
	return c.removeOldest(ctx, ended)
}

// findMissing brings the list of missing nodes up to date.
func (c *Controller) findMissing() {
	bound := map[string]bool{}
	for _, pod := range c.pods.All() {
		if pod.Spec.NodeName != "" {
			bound[pod.Spec.NodeName] = true
		}
	}
	for name := range c.missing {
		if !bound[name] {
			delete(c.missing, name)
		}
	}
	for name := range bound {
		if _, ok := c.nodes.Get("", name); ok {
			delete(c.missing, name)
		} else if _, ok := c.missing[name]; !ok {
			c.missing[name] = c.clock.Now()
		}
	}
}

// lost tells whether a pod is bound to a node that has been missing for long enough, and isn't in the
// store either.
func (c *Controller) lost(ctx context.Context, pod *corev1.Pod) (bool, error) {
	since, missing := c.missing[pod.Spec.NodeName]
	if !missing || c.clock.Since(since) < c.options.Quarantine {
		return false, nil
	}
	_, err := c.nodes.Live(ctx, "", pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, err
}

// outOfService tells whether a node is not ready and bears the taint by which somebody vouches that it is off. Without that,
// what a silent node was told to end may still be running, and hold what its successor needs.
func (c *Controller) outOfService(name string) bool {
	node, ok := c.nodes.Get("", name)
	if !ok {
		return false
	}
	isReady := func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}
	isOff := func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService }
	return !slices.ContainsFunc(node.Status.Conditions, isReady) && slices.ContainsFunc(node.Spec.Taints, isOff)
}

func (c *Controller) removeOldest(ctx context.Context, ended []*corev1.Pod) error {
	excess := len(ended) - c.options.KeepEnded
	if excess <= 0 {
		return nil
	}
	slices.SortFunc(ended, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, pod := range ended[:excess] {
		if err := c.remove(ctx, pod, "too many pods have ended"); err != nil {
			return err
		}
	}
	return nil
}

// removeFailed removes a pod of which nobody will tell how it ended: the last that is seen of it is that it has failed.
func (c *Controller) removeFailed(ctx context.Context, pod *corev1.Pod, why string) error {
	if !podstate.Ended(pod) {
		failed := pod.DeepCopy()
		failed.Status.Phase = corev1.PodFailed
		var err error
		pod, err = c.pods.UpdateStatus(ctx, failed)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return c.remove(ctx, pod, why)
}

// remove removes a pod at once. That it has changed or gone meanwhile is no failure: it is looked at again.
func (c *Controller) remove(ctx context.Context, pod *corev1.Pod, why string) error {
	err := c.pods.Delete(ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err == nil {
		c.loop.Options().Logger.Info("removed a pod", "pod", klog.KObj(pod).String(), "why", why)
	}
	return err
}
