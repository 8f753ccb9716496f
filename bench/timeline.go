package bench

import (
	"time"
)

// Point is what happened in one stretch of a run.
type Point struct {
	Seconds float64 `json:"seconds"` // the end of the stretch, since the start of the measurement
	Rate    float64 `json:"per_second"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
}

// timeline cuts a run into stretches.
type timeline struct {
	main     *Series
	start    time.Time // of the measurement
	last     time.Time // end of the last stretch
	interval time.Duration
	points   []Point
}

// timelinePoints is how many stretches a run by time has; none is shorter than shortestStretch, so that taking them
// costs the generator nothing that shows.
const (
	timelinePoints  = 60
	shortestStretch = 200 * time.Millisecond
)

func newTimeline(main *Series, w *window) *timeline {
	interval := shortestStretch
	if !w.end.IsZero() {
		interval = max(interval, w.end.Sub(w.start)/timelinePoints)
	}
	return &timeline{main: main, start: w.start, last: w.start, interval: interval}
}

// update ends a stretch if it has been long enough.
func (t *timeline) update(now time.Time) {
	if now.Sub(t.last) >= t.interval {
		t.cut(now)
	}
}

// finish takes up the rest, as a stretch of its own where it is long enough for a rate to mean something.
func (t *timeline) finish(now time.Time) {
	if now.Sub(t.last) >= t.interval/2 {
		t.cut(now)
	} else {
		t.main.drain()
	}
}

func (t *timeline) cut(now time.Time) {
	recent, length := t.main.drain(), now.Sub(t.last)
	t.last = now
	if n := recent.TotalCount(); n > 0 || len(t.points) > 0 {
		t.points = append(t.points, Point{
			Seconds: now.Sub(t.start).Seconds(), Rate: float64(n) / length.Seconds(),
			P50: millis(recent, 50), P99: millis(recent, 99),
		})
	}
}
