package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// drainTimeout is how long the last writes are waited for once a run is over.
	drainTimeout = 10 * time.Second
	// retryPause is how long a client waits after an error, so that a cluster without a leader is not stormed.
	retryPause = 20 * time.Millisecond
)

// Writes loads a cluster with puts and reports what it gave: writes a second and how long each took. A run that ctx
// cuts short is reported as far as it came. Refused writes are counted in the report; the error is for a run that
// could not be made.
func Writes(ctx context.Context, o Options) (Report, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Report{}, err
	}
	found, err := findCluster(ctx, o)
	if err != nil {
		return Report{}, err
	}
	// Writes in flight outlive the end of the run, so that no server is left with cancelled calls to clean up.
	calls, cancelCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelCalls()
	load, err := openLoad(calls, o, found.endpoints)
	if err != nil {
		return Report{}, err
	}
	defer load.close()

	m := newMeasurement(o, time.Now())
	var clients sync.WaitGroup
	noise := newNoise(o)
	for i := range o.Clients {
		clients.Go(func() { load.run(calls, m, i, newPayload(o, i, noise)) })
	}
	waitForEnd(ctx, o, m)
	stopped := time.Now()
	drained := make(chan struct{})
	go func() { clients.Wait(); close(drained) }()
	giveUp := time.NewTimer(drainTimeout)
	defer giveUp.Stop()
	select {
	case <-drained:
	case <-giveUp.C:
		cancelCalls()
		<-drained
	}
	return newReport(o, found, m, stopped), nil
}

// load is a way of writing: open connections, and what a client does on them until the run is over.
type load interface {
	run(ctx context.Context, m *measurement, client int, p *payload)
	close()
}

func openLoad(ctx context.Context, o Options, endpoints []string) (load, error) {
	if o.Pipeline > 0 {
		return openPipelines(ctx, o, endpoints)
	}
	return openUnary(ctx, o, endpoints)
}

// waitForEnd returns once the run is over: its time is up, its writes are done, or ctx has ended.
func waitForEnd(ctx context.Context, o Options, m *measurement) {
	bar := newProgress(o, m)
	defer bar.finish()
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	var end <-chan time.Time
	if !m.end.IsZero() {
		timer := time.NewTimer(time.Until(m.end))
		defer timer.Stop()
		end = timer.C
	}
	defer m.finish()
	for {
		select {
		case now := <-tick.C:
			bar.update(now)
		case <-end:
			return
		case <-m.over:
			return
		case <-ctx.Done():
			return
		}
	}
}

// pause waits a little, or until the run is over.
func pause(m *measurement) {
	t := time.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-m.over:
	}
}

// openError says what a run could not open.
func openError(endpoint string, err error) error {
	return fmt.Errorf("bench: connect to %s: %w", endpoint, err)
}
