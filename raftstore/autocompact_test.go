package raftstore

import (
	"slices"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"
)

// follow runs a plan for so many of its pauses, during each of which there are ten revisions, and returns what was
// compacted to, 0 for the pauses in which nothing was.
func follow(plan compactionPlan, pauses int) (compacted []int64) {
	now := time.Unix(0, 0)
	for revision := int64(20); pauses > 0; pauses, revision = pauses-1, revision+10 {
		now = now.Add(plan.pause())
		due := plan.due(now, revision)
		if due != 0 {
			plan.done(now, due)
		}
		compacted = append(compacted, due)
	}
	return compacted
}

func TestPeriodicCompactionKeepsItsPeriod(t *testing.T) {
	start := time.Unix(0, 0)
	for name, c := range map[string]struct {
		period time.Duration
		pauses int
		want   map[int]int64 // by pause
	}{
		"minutes": {10 * time.Minute, 35, map[int]int64{10: 10, 20: 100, 30: 200}},
		"hours":   {3 * time.Hour, 55, map[int]int64{30: 10, 40: 100, 50: 200}},
	} {
		t.Run(name, func(t *testing.T) {
			for i, got := range follow(newPeriodicPlan(c.period, start, 10), c.pauses) {
				if want := c.want[i+1]; got != want {
					t.Errorf("pause %d: compacted to %d, want %d", i+1, got, want)
				}
			}
		})
	}
}

func TestRevisionCompactionKeepsItsNumber(t *testing.T) {
	got := follow(&revisionPlan{keep: 25}, 5)
	if want := []int64{0, 5, 15, 25, 35}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	plan := &revisionPlan{keep: 5}
	plan.done(time.Time{}, 5)
	if due := plan.due(time.Time{}, 10); due != 0 {
		t.Errorf("compacted again, to %d", due)
	}
}

func TestLeaderCompactsByItself(t *testing.T) {
	clock := testclock.NewFakeClock(time.Unix(1_000_000, 0))
	c := newTestCluster(t, 1, func(config *Config) {
		config.AutoCompaction = AutoCompaction{Mode: CompactRevision, Retention: 3}
		config.Clock = clock
	})
	m := c.leader()
	for range 10 {
		m.put("key", "value")
	}
	m.eventually("to compact", func() bool {
		clock.Step(revisionPause)
		return m.machine.Store().CompactRevision() == m.Revision()-3
	})
}

func TestAutoCompactionIsValidated(t *testing.T) {
	for _, bad := range []AutoCompaction{{Mode: "sometimes"}, {Mode: CompactPeriodic, Retention: -1}} {
		if bad.validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if (AutoCompaction{Mode: CompactPeriodic}).plan(time.Time{}, 1) != nil {
		t.Error("without a retention there is a plan")
	}
}
