// Package probe asks containers whether they have started, live, and are ready.
package probe

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

// Kind is what a probe is for.
type Kind int

// The kinds of probes, as the pod's specification has them.
const (
	Startup Kind = iota
	Liveness
	Readiness
)

func (k Kind) String() string {
	return [...]string{"Startup", "Liveness", "Readiness"}[k]
}

// Result is what a probe found, thresholds taken into account.
type Result struct {
	Kind    Kind
	Success bool
	// Message says what failed.
	Message string
}

// Check asks once: nil for success.
type Check func(ctx context.Context) error

// Runner repeats one probe of one running container.
//
//  1. Before its initial delay is over, and while gate says no, nothing is asked.
//  2. A result is reported when a threshold is reached, and again at each failure after that.
//  3. A check that takes longer than the probe's timeout has failed.
type Runner struct {
	Kind  Kind
	Spec  *corev1.Probe
	Check Check
	// Started is when the container started.
	Started time.Time
	// Gate says whether asking makes sense already: a container that has not started is not asked whether it lives.
	Gate func() bool
	// Failed is told of each failed check, before thresholds.
	Failed func(kind Kind, err error)
	// Report is told of each result.
	Report func(Result)
	Clock  clock.Clock
}

// Run asks until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	spec := withDefaults(r.Spec)
	wait := r.Started.Add(seconds(spec.InitialDelaySeconds)).Sub(r.Clock.Now())
	successes, failures := int32(0), int32(0)
	for {
		if !r.sleep(ctx, wait) {
			return
		}
		wait = seconds(spec.PeriodSeconds)
		if !r.Gate() {
			continue
		}
		err := r.ask(ctx, spec)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			successes, failures = successes+1, 0
			if successes == spec.SuccessThreshold {
				r.Report(Result{Kind: r.Kind, Success: true})
			}
			continue
		}
		successes, failures = 0, failures+1
		r.Failed(r.Kind, err)
		if failures >= spec.FailureThreshold {
			r.Report(Result{Kind: r.Kind, Message: err.Error()})
		}
	}
}

// sleep waits; false when ctx ended first.
func (r *Runner) sleep(ctx context.Context, wait time.Duration) bool {
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := r.Clock.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *Runner) ask(ctx context.Context, spec corev1.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, seconds(spec.TimeoutSeconds))
	defer cancel()
	return r.Check(ctx)
}

// withDefaults fills what the API server would have.
func withDefaults(given *corev1.Probe) corev1.Probe {
	spec := *given
	for value, standard := range map[*int32]int32{
		&spec.TimeoutSeconds: 1, &spec.PeriodSeconds: 10, &spec.SuccessThreshold: 1, &spec.FailureThreshold: 3,
	} {
		if *value <= 0 {
			*value = standard
		}
	}
	return spec
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }
