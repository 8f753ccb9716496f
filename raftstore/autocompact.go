package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

// The modes of AutoCompaction.
const (
	CompactPeriodic = "periodic"
	CompactRevision = "revision"
)

const (
	// samplesAPeriod is how many times in a period, or in an hour of a longer one, the revision is noted.
	samplesAPeriod = 10
	// longestPause bounds the time between two periodic compactions.
	longestPause = time.Hour
	// revisionPause is between two compactions by revision.
	revisionPause = 5 * time.Minute
)

// AutoCompaction says what of the history is kept, by etcd's rules: of mode CompactPeriodic all that is younger than
// Retention, of mode CompactRevision the last Retention revisions, a number then and no time. Without a mode, or with a
// Retention of 0, all is kept until a client compacts.
type AutoCompaction struct {
	Mode      string
	Retention time.Duration
}

func (a AutoCompaction) validate() error {
	switch {
	case a.Mode != "" && a.Mode != CompactPeriodic && a.Mode != CompactRevision:
		return fmt.Errorf("unknown mode of automatic compaction %q: choose %q or %q", a.Mode, CompactPeriodic, CompactRevision)
	case a.Retention < 0:
		return fmt.Errorf("automatic compaction can't keep a history of %d: choose 0 to keep all", a.Retention)
	}
	return nil
}

// compactionPlan decides by the revisions that it is told of what to compact to. All members follow one, so that a new
// leader knows the revisions of its time as a follower; the leader alone compacts.
type compactionPlan interface {
	// pause is how long to wait before the next call of due.
	pause() time.Duration
	// due is told the present revision. It answers the one to compact to, 0 for none.
	due(now time.Time, revision int64) int64
	// done is told of a compaction to this revision.
	done(now time.Time, revision int64)
}

func (a AutoCompaction) plan(now time.Time, revision int64) compactionPlan {
	switch {
	case a.Retention == 0:
		return nil
	case a.Mode == CompactPeriodic:
		return newPeriodicPlan(a.Retention, now, revision)
	case a.Mode == CompactRevision:
		return &revisionPlan{keep: int64(a.Retention)}
	}
	return nil
}

// periodicPlan notes the revision some times in a period, and compacts to the one of a period ago: first after a whole
// period, then once in each, but at least every hour.
type periodicPlan struct {
	period, every time.Duration
	noted         []int64 // oldest first; the first is of a period ago, or a little more, once there are enough
	last          time.Time
	compacted     int64
	first         bool
}

func newPeriodicPlan(period time.Duration, now time.Time, revision int64) *periodicPlan {
	return &periodicPlan{period: period, every: min(period, longestPause), noted: []int64{revision}, last: now, first: true}
}

func (p *periodicPlan) pause() time.Duration { return max(p.every/samplesAPeriod, time.Nanosecond) }

func (p *periodicPlan) due(now time.Time, revision int64) int64 {
	oldest := p.noted[0]
	p.noted = append(p.noted, revision)
	if keep := int(p.period/p.pause()) + 1; len(p.noted) > keep {
		p.noted = p.noted[1:]
	}
	wait := p.every
	if p.first {
		wait = p.period
	}
	if now.Sub(p.last) < wait || oldest == p.compacted {
		return 0
	}
	return oldest
}

func (p *periodicPlan) done(now time.Time, revision int64) {
	p.last, p.compacted, p.first = now, revision, false
}

// revisionPlan keeps a number of revisions.
type revisionPlan struct{ keep, compacted int64 }

func (p *revisionPlan) pause() time.Duration { return revisionPause }

func (p *revisionPlan) due(_ time.Time, revision int64) int64 {
	if target := revision - p.keep; target > 0 && target != p.compacted {
		return target
	}
	return 0
}

func (p *revisionPlan) done(_ time.Time, revision int64) { p.compacted = revision }

// autoCompact follows the plan until ctx ends.
func (m *Member) autoCompact(ctx context.Context) {
	clock := m.config.Clock
	plan := m.config.AutoCompaction.plan(clock.Now(), m.Revision())
	if plan == nil {
		return
	}
	for {
		timer := clock.NewTimer(plan.pause())
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return
		}
		revision := plan.due(clock.Now(), m.Revision())
		if revision == 0 || !m.route().Here {
			continue
		}
		_, err := m.Compact(ctx, &pb.CompactionRequest{Revision: revision})
		if err != nil && !errors.Is(err, kv.ErrCompacted) {
			m.logger.Warn("the history was not compacted; trying again", "revision", revision, "error", err)
			continue
		}
		m.logger.Info("the history was compacted", "revision", revision, "mode", m.config.AutoCompaction.Mode)
		plan.done(clock.Now(), revision)
	}
}
