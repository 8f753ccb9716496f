package raftstore

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestRemovedMemberAnswersFirst: who asks a member for its own removal gets an answer, and nobody else is waited for.
func TestRemovedMemberAnswersFirst(t *testing.T) {
	const call = 300 * time.Millisecond
	for name, test := range map[string]struct {
		prepare func(*removals, context.CancelFunc)
		want    time.Duration
	}{
		"no call":           {func(*removals, context.CancelFunc) {}, answerTime},
		"a call that ends":  {func(r *removals, _ context.CancelFunc) { time.AfterFunc(call, r.begin()) }, call + answerTime},
		"a call that hangs": {func(r *removals, _ context.CancelFunc) { r.begin(); time.AfterFunc(call, r.begin()) }, callsPatience + answerTime},
		"the member's end":  {func(r *removals, end context.CancelFunc) { r.begin(); time.AfterFunc(call, end) }, call},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				life, end := context.WithCancel(t.Context())
				defer end()
				var r removals
				test.prepare(&r, end)
				begun := time.Now()
				if r.answered(life); time.Since(begun) != test.want {
					t.Errorf("waited %v, want %v", time.Since(begun), test.want)
				}
			})
		})
	}
}
