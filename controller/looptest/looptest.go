// Package looptest helps to test controllers in a bubble of testing/synctest, where time passes only
// when nobody has anything left to do.
package looptest

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctlplane/ctlplane/api/immutable"
	"github.com/ctlplane/ctlplane/client"
)

// Runner is a controller.
type Runner interface {
	Run(ctx context.Context) error
}

// Start runs informers and controllers, which were made over them, until the returned function is called;
// it waits for them. The test's end stops them too. It returns when they have started. All of it must be inside of one bubble.
func Start(t *testing.T, informers *client.Informers, runners ...Runner) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { informers.Run(ctx) })
	for _, runner := range runners {
		all.Go(func() {
			if err := runner.Run(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("a controller ended by itself: %v", err)
			}
		})
	}
	stop = func() {
		cancel()
		all.Wait()
		if err := immutable.Check(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	Settle(time.Second) // client-go looks whether informers are in sync every 100 ms
	return stop
}

// Settle lets the given time pass, and waits until all that it caused has been done.
func Settle(d time.Duration) {
	synctest.Wait()
	time.Sleep(d)
	synctest.Wait()
}
