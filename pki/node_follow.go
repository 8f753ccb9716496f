package pki

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	// followEvery is how often a node asks where its masters are though nothing says that it has changed.
	followEvery = 10 * time.Minute
	// followSpread is how long nodes wait, each for its own share, with a question that all of them have at once.
	followSpread = 5 * time.Second
	// followAgain is the pause after a question that nobody answered.
	followAgain = 15 * time.Second
)

// Follow keeps what the node knows of its masters up to date until ctx ends: it asks when hints says that something may
// have changed, and now and then. told is called after each change.
func (e *Enrolment) Follow(ctx context.Context, hints <-chan struct{}, told func(), log *slog.Logger) {
	wait, failing := followEvery, false
	for {
		timer := time.NewTimer(jittered(wait))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-hints:
			timer.Stop()
			timer.Reset(rand.N(followSpread))
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
		}
		changed, err := e.Refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			log.Warn("can't ask the masters where they are; it is tried again", "err", err)
		case changed:
			log.Info("the cluster's masters are others now", "endpoints", e.ClientEndpoints())
			told()
		}
		if failing = err != nil; failing {
			wait = followAgain
		} else {
			wait = followEvery
		}
	}
}

// jittered is a duration between three and five quarters of d.
func jittered(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }
