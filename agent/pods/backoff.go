package pods

import "time"

const (
	backoffFirst = 10 * time.Second
	backoffMax   = 5 * time.Minute
	// backoffForget is how long a container has to run to count as healthy: twice the longest delay.
	backoffForget = 10 * time.Minute
)

// backoff counts a container's failures in a row and says how long to wait before the next try.
type backoff struct {
	failures int
	seen     string // the run or error that was counted last
	until    time.Time
}

// failed counts one failure, once for each id, which ended at the given time after having run for ran. The
// first try after it comes at once when immediate is set.
func (b *backoff) failed(id string, at time.Time, ran time.Duration, immediate bool) {
	if id != "" && b.seen == id {
		return
	}
	b.seen = id
	if ran >= backoffForget {
		b.failures = 0
	}
	b.until = at.Add(b.delay(immediate))
	b.failures++
}

// delay is the wait after the failures so far: 10 s, doubling to 5 min, with nothing before it when the
// first try is immediate.
func (b *backoff) delay(immediate bool) time.Duration {
	n := b.failures
	if immediate {
		if n == 0 {
			return 0
		}
		n--
	}
	if n >= 5 {
		return backoffMax
	}
	return backoffFirst << n
}

// remaining is how long to wait still.
func (b *backoff) remaining(now time.Time) time.Duration {
	return max(b.until.Sub(now), 0)
}

// current is the delay that is being waited for.
func (b *backoff) current(immediate bool) time.Duration {
	past := backoff{failures: max(b.failures-1, 0)}
	return past.delay(immediate)
}
