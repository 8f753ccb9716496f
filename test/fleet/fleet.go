// Package fleet makes the objects of large clusters, without the machines: nodes that are registered and kept fresh, and pods
// for them. It writes as many agents and users would, from many sides at once, and gets over the loss of a master as they do.
package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/client"
)

const (
	writers  = 32                     // calls in flight
	retry    = 100 * time.Millisecond // after a call that no master answered
	Capacity = 110                    // pods that a node takes
)

// Fleet writes to one cluster.
type Fleet struct {
	objects client.Objects
}

// New makes a fleet of the cluster that objects are of.
func New(objects client.Objects) *Fleet { return &Fleet{objects: objects} }

// Each runs f for 0 to n-1, some at a time, until one fails.
func Each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for i := range next {
				if err := f(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	all.Wait()
	return context.Cause(ctx)
}

// Persist repeats a call that no master has answered, or that met one which could not say what came of it.
func Persist(ctx context.Context, call func() error) error {
	for {
		err := call()
		passes := apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) ||
			apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err)
		if !passes {
			return err
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return fmt.Errorf("%w; before: %w", ctx.Err(), err)
		}
	}
}

// create stores an object. One that is there is taken for the same: an earlier try may have made it.
func create[T client.Object](ctx context.Context, f *Fleet, obj T) error {
	return Persist(ctx, func() error {
		_, err := client.For[T](f.objects).Create(ctx, obj)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

// NodeName is the name of the i-th node.
func NodeName(i int) string { return fmt.Sprintf("node-%04d", i) }

// Register makes n nodes, each with its status and its lease.
func (f *Fleet) Register(ctx context.Context, n int) error {
	return Each(ctx, n, func(ctx context.Context, i int) error {
		name := NodeName(i)
		if err := create(ctx, f, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: fmt.Sprint("zone-", i%3)},
		}}); err != nil {
			return err
		}
		if err := f.report(ctx, name); err != nil {
			return err
		}
		seconds := int32(40)
		return create(ctx, f, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: &seconds, RenewTime: nowMicro()},
		})
	})
}

// report writes the status of a node: what it has, and that it is ready.
func (f *Fleet) report(ctx context.Context, name string) error {
	has := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("16"), corev1.ResourceMemory: resource.MustParse("64Gi"),
		corev1.ResourcePods: resource.MustParse(fmt.Sprint(Capacity)),
	}
	now := metav1.Now()
	status := corev1.NodeStatus{Capacity: has, Allocatable: has, Conditions: []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now,
	}}}
	return f.patch(ctx, func(ctx context.Context, patch []byte) error {
		_, err := client.For[*corev1.Node](f.objects).Patch(ctx, "", name, "status", types.MergePatchType, patch)
		return err
	}, map[string]any{"status": status})
}

func (f *Fleet) patch(ctx context.Context, write func(context.Context, []byte) error, change any) error {
	patch, err := json.Marshal(change)
	if err != nil {
		return err
	}
	return Persist(ctx, func() error { return write(ctx, patch) })
}

// KeepFresh renews the leases of n nodes, each once in a period, until ctx ends. What fails is tried again in the next one.
func (f *Fleet) KeepFresh(ctx context.Context, n int, period time.Duration) {
	leases := client.For[*coordinationv1.Lease](f.objects)
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_ = Each(ctx, n, func(ctx context.Context, i int) error {
			patch, err := json.Marshal(map[string]any{"spec": map[string]any{"renewTime": nowMicro()}})
			if err != nil {
				return err
			}
			_, _ = leases.Patch(ctx, corev1.NamespaceNodeLease, NodeName(i), "", types.MergePatchType, patch)
			return nil
		})
	}
}

func nowMicro() *metav1.MicroTime {
	now := metav1.NowMicro()
	return &now
}

// Namespaces makes n namespaces.
func (f *Fleet) Namespaces(ctx context.Context, n int) error {
	return Each(ctx, n, func(ctx context.Context, i int) error {
		return create(ctx, f, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: NamespaceName(i)}})
	})
}

// NamespaceName is the name of the i-th namespace.
func NamespaceName(i int) string { return fmt.Sprint("fleet-", i) }

// PodSelector selects what Pods and Deployments make.
const PodSelector = "app in (pod,deployed)"

// Pods makes n pods that ask for an amount of CPU, spread over a number of namespaces.
func (f *Fleet) Pods(ctx context.Context, n, namespaces int, cpu string) error {
	return Each(ctx, n, func(ctx context.Context, i int) error {
		return create(ctx, f, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: NamespaceName(i % namespaces), Name: fmt.Sprintf("pod-%05d", i), Labels: map[string]string{"app": "pod"}},
			Spec:       podSpec(cpu),
		})
	})
}

// Deployments makes one deployment in each of a number of namespaces.
func (f *Fleet) Deployments(ctx context.Context, namespaces, replicas int, cpu string) error {
	return Each(ctx, namespaces, func(ctx context.Context, i int) error {
		labels, count := map[string]string{"app": "deployed"}, int32(replicas)
		return create(ctx, f, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: NamespaceName(i), Name: "deployed"},
			Spec: appsv1.DeploymentSpec{
				Replicas: &count, Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec(cpu)},
			},
		})
	})
}

func podSpec(cpu string) corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: "image",
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("64Mi"),
		}},
	}}}
}
