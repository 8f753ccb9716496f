package bench

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
)

const progressInterval = 200 * time.Millisecond

// progress draws how far a run has come. A nil progress draws nothing.
type progress struct {
	bar   *progressbar.ProgressBar
	m     *measurement
	count int64
	at    time.Time
}

func newProgress(o Options, m *measurement) *progress {
	if o.Progress == nil {
		return nil
	}
	steps := o.Total
	if steps == 0 {
		steps = (o.WarmUp + o.Duration).Milliseconds()
	}
	bar := progressbar.NewOptions64(steps,
		progressbar.OptionSetWriter(o.Progress),
		progressbar.OptionSetDescription("warming up"),
		progressbar.OptionSetWidth(40),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionClearOnFinish(),
	)
	return &progress{bar: bar, m: m, at: time.Now()}
}

func (p *progress) update(now time.Time) {
	if p == nil {
		return
	}
	count := p.m.count.Load()
	if p.at.After(p.m.start) {
		p.bar.Describe(fmt.Sprintf("%9s writes/s", thousands(float64(count-p.count)/now.Sub(p.at).Seconds())))
	}
	p.count, p.at = count, now
	step := count
	if p.m.total == 0 {
		step = p.bar.GetMax64() - p.m.end.Sub(now).Milliseconds()
	}
	_ = p.bar.Set64(min(max(step, 0), p.bar.GetMax64()-1)) // drawing on a terminal that went away is no error of the run
}

func (p *progress) finish() {
	if p != nil {
		_ = p.bar.Finish()
	}
}
