package supervise

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func counted(t *testing.T, counter prometheus.Counter) float64 {
	t.Helper()
	var metric dto.Metric
	if err := counter.Write(&metric); err != nil {
		t.Fatal(err)
	}
	return metric.GetCounter().GetValue()
}

func TestPanicIsAnError(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	fault := new(PanicError)
	if err := Call("test-one", logger, func() error { panic("at the wrong time") }); !errors.As(err, &fault) || fault.Value != "at the wrong time" {
		t.Errorf("got %v", err)
	}
	if strings.Contains(GRPCError(fault).Error(), "wrong time") {
		t.Errorf("a client is told %v", GRPCError(fault))
	}
	if want := errors.New("other"); Call("test-one", logger, func() error { return want }) != want {
		t.Error("an error of the call was lost")
	}
	if !strings.Contains(log.String(), "where=test-one") || !strings.Contains(log.String(), "TestPanicIsAnError") {
		t.Errorf("no stack was told: %s", log.String())
	}
	if got := counted(t, panics.WithLabelValues("test-one")); got != 1 {
		t.Errorf("%v were counted", got)
	}
}

// TestPanicsAreToldWithinLimits has one place panic all the time.
func TestPanicsAreToldWithinLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		for range 1000 {
			Do("test-many", logger, func() { panic("again") })
			time.Sleep(50 * time.Millisecond)
		}
		if lines := strings.Count(log.String(), "where=test-many"); lines < 4 || lines > 6 {
			t.Errorf("%d lines in 50 s", lines)
		}
		if !strings.Contains(log.String(), "more_like_it=199") {
			t.Error("those that were not told were not counted")
		}
		if got := counted(t, panics.WithLabelValues("test-many")); got != 1000 {
			t.Errorf("%v were counted", got)
		}
	})
}

func TestAgainOnlyAfterAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs, begun := 0, time.Now()
		Again(t.Context(), "test-again", slog.New(slog.DiscardHandler), func() {
			if runs++; runs < 4 {
				panic("not yet")
			}
		})
		if runs != 4 || time.Since(begun) != 7*time.Second {
			t.Errorf("%d runs in %v", runs, time.Since(begun))
		}
		ctx, cancel := context.WithCancel(t.Context())
		Again(ctx, "test-again", slog.New(slog.DiscardHandler), func() { cancel(); panic("at the end") })
	})
}

// TestLoopThatEndedIsStartedAgain has one loop that ends in each way that there is, beside one that runs on.
func TestLoopThatEndedIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := prometheus.NewRegistry()
		loops := NewLoops(slog.New(slog.DiscardHandler), metrics)
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		var runs []time.Duration
		otherRuns := 0
		var all sync.WaitGroup
		all.Go(func() {
			loops.Run(ctx, "broken", func(ctx context.Context) error {
				runs = append(runs, time.Since(begun))
				switch len(runs) {
				case 1:
					return errors.New("the disk is blue")
				case 2:
					panic("at the wrong time")
				case 3:
					return nil
				case 10:
					time.Sleep(time.Hour) // it is well for a time
					return errors.New("late")
				case 11:
					<-ctx.Done()
					return ctx.Err()
				}
				return errors.New("still")
			})
		})
		all.Go(func() {
			loops.Run(ctx, "well", func(ctx context.Context) error { otherRuns++; <-ctx.Done(); return ctx.Err() })
		})
		synctest.Wait()
		if err := loops.Err(); err == nil || !strings.Contains(err.Error(), "broken ended (1 in a row): the disk is blue; it is started again at "+begun.Add(time.Second).UTC().Format(time.RFC3339)) {
			t.Errorf("Err: %v", err)
		}
		time.Sleep(3 * time.Minute)
		if err := loops.Err(); err == nil || !strings.Contains(err.Error(), "still; it runs again since") {
			t.Errorf("Err just after a start: %v", err)
		}
		time.Sleep(10 * time.Minute)
		if err := loops.Err(); err != nil {
			t.Errorf("Err of loops that run: %v", err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		want := []time.Duration{0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 151 + 3600 + 1}
		for i := range want {
			want[i] *= time.Second
		}
		if len(runs) != len(want) {
			t.Fatalf("started at %v, expected %v", runs, want)
		}
		for i := range want {
			if runs[i] != want[i] {
				t.Errorf("started at %v, expected %v", runs, want)
			}
		}
		if otherRuns != 1 {
			t.Errorf("the other loop was started %d times", otherRuns)
		}
		if got := counted(t, loops.restarts.WithLabelValues("broken")); got != 10 {
			t.Errorf("%v restarts were counted", got)
		}
		cancel()
		all.Wait()
		if err := loops.Err(); err != nil {
			t.Errorf("Err of loops that were told to end: %v", err)
		}
	})
}
