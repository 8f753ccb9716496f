package bench

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress draws how far a run has come. A nil progress draws nothing.
type progress struct {
	bar   *progressbar.ProgressBar
	run   *Run
	count int64
	at    time.Time
}

func newProgress(r *Run) *progress {
	if r.Progress == nil {
		return nil
	}
	steps := r.Total
	if steps == 0 {
		steps = (r.WarmUp + r.Duration).Milliseconds()
	}
	bar := progressbar.NewOptions64(steps,
		progressbar.OptionSetWriter(r.Progress),
		progressbar.OptionSetDescription("warming up"),
		progressbar.OptionSetWidth(40),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionClearOnFinish(),
	)
	return &progress{bar: bar, run: r, at: r.Clock.Now()}
}

func (p *progress) update(now time.Time) {
	if p == nil {
		return
	}
	w := p.run.window
	count := w.taken.Load()
	if p.at.After(w.start) {
		p.bar.Describe(fmt.Sprintf("%-14s %9s/s", p.run.workload.Name, Thousands(float64(count-p.count)/now.Sub(p.at).Seconds())))
	}
	p.count, p.at = count, now
	step := count
	if w.total == 0 {
		step = p.bar.GetMax64() - w.end.Sub(now).Milliseconds()
	}
	_ = p.bar.Set64(min(max(step, 0), p.bar.GetMax64()-1)) // drawing on a terminal that went away is no error of the run
}

func (p *progress) finish() {
	if p != nil {
		_ = p.bar.Finish()
	}
}
