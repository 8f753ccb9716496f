// Package node tells the cluster that a node is there: its Node object, that object's status, and the lease
// whose renewal says that the node lives.
package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/supervise"
)

const (
	// statusInterval is how often a status without news is written.
	statusInterval = 5 * time.Minute
	requestTimeout = 10 * time.Second
)

// Config is what a Reporter needs.
type Config struct {
	Name, IP string
	// Port is where the agent's own server listens.
	Port int32
	// Dir is on the file system whose room the node reports.
	Dir string
	// Labels and Taints are given to the node when it registers, besides those that every node has.
	Labels map[string]string
	Taints []corev1.Taint
	// Capacity is what the node has, Allocatable what of it is for pods.
	Capacity, Allocatable corev1.ResourceList
	// Version is ctlplane's, RuntimeVersion the container runtime's.
	Version, RuntimeVersion string
	// Ready says why the node can't run pods; nil when it can.
	Ready func(ctx context.Context) error
	// ReadyChanged, when set, tells that Ready may answer otherwise than before: the status is then reported at once.
	ReadyChanged <-chan struct{}
	// Images lists the node's images.
	Images func(ctx context.Context) []corev1.ContainerImage
	// Heartbeat is how often the lease is renewed.
	Heartbeat time.Duration
	Objects   client.Objects
	Clock     clock.Clock
	Logger    *slog.Logger
}

// Reporter keeps a node's objects up to date.
//
//  1. The lease is renewed on its own goroutine: a slow status never costs a heartbeat. It begins once there is a Node, which it
//     belongs to.
//  2. Labels, taints and everything in the Node's spec that others set are left as they are.
type Reporter struct {
	cfg   Config
	log   *slog.Logger
	nodes client.Typed[*corev1.Node]
	// there is closed once the Node has been seen.
	there     chan struct{}
	seenThere sync.Once
}

// New makes a reporter; Run starts it, once.
func New(cfg Config) *Reporter {
	return &Reporter{cfg: cfg, log: cfg.Logger, nodes: client.For[*corev1.Node](cfg.Objects), there: make(chan struct{})}
}

// Run registers the node and reports until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() {
		select {
		case <-r.there:
			r.every(ctx, nil, "renew the node's lease", newHeartbeat(r.cfg).beat)
		case <-ctx.Done():
		}
	})
	written := time.Time{}
	parts.Go(func() {
		r.every(ctx, r.cfg.ReadyChanged, "report the node's status", func(ctx context.Context) error { return r.report(ctx, &written) })
	})
	parts.Wait()
	return nil
}

// every calls f at once, then with each heartbeat, and when news says that there is reason to. It says when f begins to fail and
// when it succeeds again.
func (r *Reporter) every(ctx context.Context, news <-chan struct{}, what string, f func(context.Context) error) {
	failing := false
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, requestTimeout)
		err := supervise.Call("node-reporter", r.log, func() error { return f(attempt) })
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			r.log.Warn("can't "+what+"; it is tried again", "error", err)
		case err == nil && failing:
			r.log.Info("could " + what + " again")
		}
		failing = err != nil
		timer := r.cfg.Clock.NewTimer(r.cfg.Heartbeat)
		select {
		case <-timer.C():
		case <-news:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// report writes the node's status when there is news in it, or none has been written for long. Others write to the node at
// the same time, above all while it is new: then it is read again, and not left to the next heartbeat.
func (r *Reporter) report(ctx context.Context, written *time.Time) error {
	for {
		err := r.tryReport(ctx, written)
		if !apierrors.IsConflict(err) || ctx.Err() != nil {
			return err
		}
	}
}

func (r *Reporter) tryReport(ctx context.Context, written *time.Time) error {
	current, err := r.registered(ctx)
	if err != nil {
		return err
	}
	r.seenThere.Do(func() { close(r.there) })
	next := current.DeepCopy()
	r.fill(ctx, &next.Status)
	now := r.cfg.Clock.Now()
	if equality.Semantic.DeepEqual(withoutHeartbeats(current.Status), withoutHeartbeats(next.Status)) && now.Sub(*written) < statusInterval {
		return nil
	}
	_, err = r.nodes.UpdateStatus(ctx, next)
	if err == nil {
		*written = now
	}
	return err
}

// withoutHeartbeats is a status without the times that change though nothing else does.
func withoutHeartbeats(status corev1.NodeStatus) corev1.NodeStatus {
	out := *status.DeepCopy()
	for i := range out.Conditions {
		out.Conditions[i].LastHeartbeatTime = metav1.Time{}
	}
	return out
}

// registered reads the node's object, making it, or giving it the labels that it lacks, when needed.
func (r *Reporter) registered(ctx context.Context) (*corev1.Node, error) {
	current, err := r.nodes.Get(ctx, "", r.cfg.Name)
	if apierrors.IsNotFound(err) {
		fresh := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: r.cfg.Name, Labels: r.labels()},
			Spec:       corev1.NodeSpec{Taints: r.cfg.Taints},
		}
		r.log.Info("register the node", "node", r.cfg.Name)
		current, err = r.nodes.Create(ctx, fresh)
		if apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("node %s was registered at the same moment: %w", r.cfg.Name, err)
		}
		return current, err
	}
	if err != nil {
		return nil, err
	}
	next := current.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	maps.Copy(next.Labels, r.labels())
	if maps.Equal(next.Labels, current.Labels) {
		return current, nil
	}
	return r.nodes.Update(ctx, next)
}

func (r *Reporter) labels() map[string]string {
	labels := map[string]string{
		corev1.LabelHostname: r.cfg.Name, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
		"ctlplane.io/version": labelValue(r.cfg.Version),
	}
	maps.Copy(labels, r.cfg.Labels)
	return labels
}

// labelValue makes a version fit for a label, in which + may not be.
func labelValue(text string) string {
	out := []byte(text)
	for i, c := range out {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			out[i] = '_'
		}
	}
	return string(out[:min(len(out), 63)])
}

// fill sets what the node knows of itself.
func (r *Reporter) fill(ctx context.Context, status *corev1.NodeStatus) {
	status.Capacity, status.Allocatable = r.cfg.Capacity, r.cfg.Allocatable
	status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: r.cfg.IP}, {Type: corev1.NodeHostName, Address: r.cfg.Name}}
	status.DaemonEndpoints = corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: r.cfg.Port}}
	status.NodeInfo = systemInfo(r.cfg.Version, r.cfg.RuntimeVersion)
	status.Images = r.cfg.Images(ctx)
	now := metav1.NewTime(r.cfg.Clock.Now()).Rfc3339Copy()
	for _, c := range r.conditions(ctx) {
		setCondition(status, c, now)
	}
}

func setCondition(status *corev1.NodeStatus, next corev1.NodeCondition, now metav1.Time) {
	next.LastHeartbeatTime, next.LastTransitionTime = now, now
	for i := range status.Conditions {
		old := &status.Conditions[i]
		if old.Type != next.Type {
			continue
		}
		if old.Status == next.Status {
			next.LastTransitionTime = old.LastTransitionTime
		}
		*old = next
		return
	}
	status.Conditions = append(status.Conditions, next)
}
