package bench

import (
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept from a microsecond to two minutes with three digits.
const (
	latencyMin    = int64(time.Microsecond)
	latencyMax    = int64(2 * time.Minute)
	latencyDigits = 3
)

func newHistogram() *hdr.Histogram { return hdr.New(latencyMin, latencyMax, latencyDigits) }

// Series is a distribution of latencies that many clients add to at once.
//
//  1. A latency is in exactly one shard, or, once drained, in total.
//  2. last is when the latest of the operations in it was answered.
type Series struct {
	name   string
	shards [4]shard

	mu    sync.Mutex
	total *hdr.Histogram
	last  time.Time
}

type shard struct {
	mu     sync.Mutex
	recent *hdr.Histogram
	last   time.Time
}

func newSeries(name string) *Series {
	s := &Series{name: name, total: newHistogram()}
	for i := range s.shards {
		s.shards[i].recent = newHistogram()
	}
	return s
}

// add notes an operation of client that was due and answered then.
func (s *Series) add(client int, due, answered time.Time) {
	shard := &s.shards[client%len(s.shards)]
	latency := min(max(answered.Sub(due).Nanoseconds(), 0), latencyMax)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	_ = shard.recent.RecordValue(latency) // within the bounds of the histogram
	if answered.After(shard.last) {
		shard.last = answered
	}
}

// drain moves what was added since the last time into total, and returns it.
func (s *Series) drain() *hdr.Histogram {
	recent := newHistogram()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		recent.Merge(shard.recent)
		shard.recent.Reset()
		if shard.last.After(s.last) {
			s.last = shard.last
		}
		shard.mu.Unlock()
	}
	s.total.Merge(recent)
	return recent
}
