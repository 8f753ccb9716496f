// Package logging bounds what a process writes to its log.
package logging

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	burst     = 30               // lines of one kind that are written at once
	refill    = 10 * time.Second // time in which one more may be written
	maxKinds  = 1024             // kinds that are told apart; beyond, a place in the code is one kind
	attribute = "suppressed"     // of a line: how many like it were left out before it
)

// Limiter is a slog.Handler which keeps any line from filling the log, whatever goes round in circles.
// Lines are of one kind when the same place in the code writes them with the same message; what else
// they say may differ.
//
//  1. Of one kind, burst lines are written at once and then one every refill.
//  2. A kind's latest line is written in the end, at most refill late: it bears its own time, and how
//     many lines were left out before it.
//  3. Lines of level Debug are not limited: who asks for them asks for all.
//  4. Messages of unbounded variety take neither memory nor the log: see maxKinds.
//
// Handlers that WithAttrs and WithGroup make have their limits in common.
type Limiter struct {
	next   slog.Handler
	shared *kinds
}

var _ slog.Handler = (*Limiter)(nil)

// NewLimiter puts limits before next.
func NewLimiter(next slog.Handler) *Limiter {
	return &Limiter{next: next, shared: &kinds{of: map[kind]*allowance{}}}
}

// Enabled implements slog.Handler.
func (l *Limiter) Enabled(ctx context.Context, level slog.Level) bool {
	return l.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (l *Limiter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Limiter{next: l.next.WithAttrs(attrs), shared: l.shared}
}

// WithGroup implements slog.Handler.
func (l *Limiter) WithGroup(name string) slog.Handler {
	return &Limiter{next: l.next.WithGroup(name), shared: l.shared}
}

// Handle implements slog.Handler.
func (l *Limiter) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return l.next.Handle(ctx, r)
	}
	messages.WithLabelValues(levelName(r.Level)).Inc()
	if !l.shared.take(kind{r.PC, r.Message}, line{l.next, r}) {
		return nil
	}
	return l.next.Handle(ctx, r)
}

// kind is what lines have in common that count as one. A PC of 0 is a record that was not made by slog.
type kind struct {
	pc      uintptr
	message string
}

// line is a record and where it goes.
type line struct {
	handler slog.Handler
	record  slog.Record
}

// kinds are the allowances of all kinds of lines that were lately written.
type kinds struct {
	mu    sync.Mutex
	of    map[kind]*allowance
	swept time.Time // when idle ones were last looked for
}

// allowance is what one kind may still write.
type allowance struct {
	spent int       // lines of the burst that are used up at since
	since time.Time // when spent was last brought up to date
	held  *line     // the latest line that was not written; nil: none, and no timer runs
	left  int       // lines that were left out before held
}

// take answers whether a line may be written now. If not, the line is the latest of its kind that waits.
func (k *kinds) take(of kind, latest line) bool {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.allowance(of, now)
	a.recover(now)
	if a.held == nil && a.spent < burst {
		a.spent++
		return true
	}
	latest.record = latest.record.Clone()
	if a.held == nil {
		time.AfterFunc(a.since.Add(refill).Sub(now), func() { k.release(a) })
	} else {
		a.left++
		leftOut.WithLabelValues(levelName(a.held.record.Level)).Inc()
	}
	a.held = &latest
	return false
}

// allowance finds or makes the one of a kind. When too many kinds are known and none of them is idle, the
// kind's place shares one among all its messages; places are as many as the program has.
func (k *kinds) allowance(of kind, now time.Time) *allowance {
	if a, ok := k.of[of]; ok {
		return a
	}
	if len(k.of) >= maxKinds && now.Sub(k.swept) >= refill {
		k.forgetIdle(now)
	}
	if len(k.of) >= maxKinds {
		of.message = ""
		if a, ok := k.of[of]; ok {
			return a
		}
	}
	a := &allowance{since: now}
	k.of[of] = a
	return a
}

func (k *kinds) forgetIdle(now time.Time) {
	k.swept = now
	for of, a := range k.of {
		if a.recover(now); a.spent == 0 && a.held == nil {
			delete(k.of, of)
		}
	}
}

// recover gives back what time has given back.
func (a *allowance) recover(now time.Time) {
	periods := int(now.Sub(a.since) / refill)
	if periods >= a.spent {
		a.spent, a.since = 0, now
		return
	}
	a.spent -= periods
	a.since = a.since.Add(time.Duration(periods) * refill)
}

// release writes the line that an allowance holds: its time has come.
func (k *kinds) release(a *allowance) {
	k.mu.Lock()
	a.recover(time.Now())
	a.spent++
	held, left := a.held, a.left
	a.held, a.left = nil, 0
	k.mu.Unlock()
	if left > 0 {
		held.record.AddAttrs(slog.Int(attribute, left))
	}
	_ = held.handler.Handle(context.Background(), held.record) // nobody is left to be told
}
