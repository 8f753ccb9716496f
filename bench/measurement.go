package bench

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc/status"
)

// Latencies are kept from a microsecond to two minutes with three digits.
const (
	latencyMin    = int64(time.Microsecond)
	latencyMax    = int64(2 * time.Minute)
	latencyDigits = 3
)

// measurement collects what clients see. What is answered before start, or after end, does not count.
//
//  1. count is the number of values in all the histograms.
//  2. over is closed once: at end, or when total writes were counted.
type measurement struct {
	start time.Time
	end   time.Time // zero: when total is reached
	total int64

	count  atomic.Int64
	failed atomic.Int64
	last   atomic.Int64 // of the counted writes the latest, in nanoseconds since start
	over   chan struct{}
	once   sync.Once
	shards [8]shard
}

type shard struct {
	mu     sync.Mutex
	writes *hdr.Histogram
	errors map[string]int64
}

func newMeasurement(o Options, now time.Time) *measurement {
	m := &measurement{start: now.Add(o.WarmUp), total: o.Total, over: make(chan struct{})}
	if o.Total == 0 {
		m.end = m.start.Add(o.Duration)
	}
	for i := range m.shards {
		m.shards[i].writes = hdr.New(latencyMin, latencyMax, latencyDigits)
		m.shards[i].errors = map[string]int64{}
	}
	return m
}

// record notes the answer of a write that client sent at sent and that was answered at now.
func (m *measurement) record(client int, sent, now time.Time, err error) {
	if now.Before(m.start) || !m.end.IsZero() && now.After(m.end) {
		return
	}
	s := &m.shards[client%len(m.shards)]
	if err != nil {
		m.failed.Add(1)
		s.mu.Lock()
		s.errors[errorText(err)]++
		s.mu.Unlock()
		return
	}
	n := m.count.Add(1)
	if m.total > 0 && n > m.total {
		m.count.Add(-1)
		return
	}
	s.mu.Lock()
	_ = s.writes.RecordValue(min(now.Sub(sent).Nanoseconds(), latencyMax))
	s.mu.Unlock()
	if m.total > 0 {
		m.noteLast(now.Sub(m.start).Nanoseconds())
		if n == m.total {
			m.finish()
		}
	}
}

func (m *measurement) noteLast(at int64) {
	for seen := m.last.Load(); at > seen && !m.last.CompareAndSwap(seen, at); {
		seen = m.last.Load()
	}
}

// finish ends the run.
func (m *measurement) finish() { m.once.Do(func() { close(m.over) }) }

// running says whether clients are to go on.
func (m *measurement) running() bool {
	select {
	case <-m.over:
		return false
	default:
		return true
	}
}

// elapsed is the time that the counted writes took.
func (m *measurement) elapsed(now time.Time) time.Duration {
	switch {
	case m.total > 0 && m.count.Load() >= m.total:
		return time.Duration(m.last.Load())
	case !m.end.IsZero() && now.After(m.end):
		return m.end.Sub(m.start)
	default: // cut short
		return max(now.Sub(m.start), 0)
	}
}

// merged is all latencies in one histogram, and all errors in one table.
func (m *measurement) merged() (*hdr.Histogram, map[string]int64) {
	writes := hdr.New(latencyMin, latencyMax, latencyDigits)
	texts := map[string]int64{}
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		writes.Merge(s.writes)
		for text, n := range s.errors {
			texts[text] += n
		}
		s.mu.Unlock()
	}
	return writes, texts
}

// errorText is what errors are told apart by: the server's words where it has some.
func errorText(err error) string {
	var fromServer interface{ GRPCStatus() *status.Status }
	if errors.As(err, &fromServer) {
		s := fromServer.GRPCStatus()
		return s.Code().String() + ": " + s.Message()
	}
	return err.Error()
}
