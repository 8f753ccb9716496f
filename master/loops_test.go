package master

import (
	"context"
	"log/slog"
	"testing"
)

// TestLeadRunsOnceATermAndWaitsForItsEnd changes leadership and looks that two terms never overlap.
func TestLeadRunsOnceATermAndWaitsForItsEnd(t *testing.T) {
	leadership := make(chan bool)
	started, ended := make(chan int), make(chan int)
	terms := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		lead(t.Context(), leadership, slog.New(slog.DiscardHandler), func(ctx context.Context) error {
			terms++
			term := terms // safe: a second run at the same time is what the race detector would find
			started <- term
			<-ctx.Done()
			ended <- term
			return nil
		})
	}()
	for term := 1; term <= 3; term++ {
		leadership <- true
		if got := <-started; got != term {
			t.Errorf("term %d ran, want %d", got, term)
		}
		leadership <- false
		if got := <-ended; got != term {
			t.Errorf("term %d ended, want %d", got, term)
		}
	}
	leadership <- true
	<-started
	close(leadership) // the member is gone
	<-ended
	<-done
}
