package pki

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"sync"
	"time"
)

// Certificate is one that a process holds, under the name that logs and metrics have for it.
type Certificate struct {
	Kind   string
	Source *Source
}

// Renewal is how certificates that were issued together are renewed together. Renew makes and stores new ones, and has the
// sources use them.
type Renewal struct {
	Certificates []Certificate
	Renew        func(ctx context.Context) error
}

// Renewer renews a process's certificates at two thirds of their lives.
//
//  1. Connections that are open stay open; the next one uses the new certificate.
//  2. A renewal that failed is tried again, until it succeeds or the process ends. The old certificate stays in use.
//  3. Time is the wall clock's, looked at every hour at least: certificates end by it whatever the process slept through.
//  4. How often failures are logged falls by half with each line.
type Renewer struct {
	logger   *slog.Logger
	ca       *CA
	renewals []Renewal
	counts   renewalCounts
}

const (
	// wakeEvery bounds how long the renewer sleeps.
	wakeEvery = time.Hour
	// renewTimeout bounds one attempt.
	renewTimeout = 30 * time.Second
	// Pauses between attempts: a sixtieth of the certificate's life, between these.
	minRenewPause = time.Second
	maxRenewPause = 10 * time.Minute
)

// NewRenewer makes a renewer of certificates of ca. Add renewals with Keep before Run.
func NewRenewer(ca *CA, logger *slog.Logger) *Renewer {
	return &Renewer{logger: logger, ca: ca, counts: renewalCounts{}}
}

// Keep adds certificates to renew.
func (r *Renewer) Keep(renewals ...Renewal) {
	r.renewals = append(r.renewals, renewals...)
	for _, renewal := range renewals {
		for _, c := range renewal.Certificates {
			r.counts[c.Kind] = &renewalCount{}
		}
	}
}

// Run renews until ctx ends.
func (r *Renewer) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, renewal := range r.renewals {
		all.Go(func() { r.keep(ctx, renewal) })
	}
	all.Wait()
}

// keep renews the certificates of one renewal, again and again.
func (r *Renewer) keep(ctx context.Context, renewal Renewal) {
	failures := 0
	var last time.Time // of the last attempt that failed
	var told slog.Level
	for {
		next := renewal.due()
		if failures > 0 {
			next = last.Add(renewal.pause())
		}
		if !sleepUntil(ctx, next) {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, renewTimeout)
		err := r.renew(attempt, renewal)
		cancel()
		if ctx.Err() != nil {
			return
		}
		r.count(renewal, err)
		if err == nil {
			failures, told = 0, 0
			r.logger.Info("renewed a certificate", "certificate", renewal.kind(), "ends", renewal.end().UTC())
			continue
		}
		failures, last = failures+1, time.Now()
		told = r.tell(renewal, failures, told, err)
	}
}

// errNoLonger says that a new certificate ends no later than the old one.
var errNoLonger = errors.New("the new certificate ends no later than the old one, since the cluster's CA ends then")

func (r *Renewer) renew(ctx context.Context, renewal Renewal) error {
	if err := renewal.Renew(ctx); err != nil {
		return err
	}
	if !time.Now().Before(renewal.due()) {
		return errNoLonger
	}
	return nil
}

// endedLevel is above what is logged before a certificate has ended.
const endedLevel = slog.LevelError + 1

// tell logs a failed attempt: the first, the second, the fourth, the eighth … in a row, and one at which it has become worse
// than was told. It returns how bad it is told to be.
func (r *Renewer) tell(renewal Renewal, failures int, told slog.Level, err error) slog.Level {
	level, what := slog.LevelWarn, "a certificate can't be renewed yet; it is tried again"
	switch left := time.Until(renewal.end()); {
	case left <= 0:
		level, what = endedLevel, "a certificate has ended, and can't be renewed; it is tried again"
	case left < renewal.life()/10:
		level, what = slog.LevelError, "a certificate ends soon, and can't be renewed yet; it is tried again"
	}
	if bits.OnesCount(uint(failures)) != 1 && level <= told {
		return told
	}
	r.logger.Log(context.Background(), min(level, slog.LevelError), what,
		"certificate", renewal.kind(), "ends", renewal.end().UTC(), "attempts", failures, "err", err)
	return level
}

// kind names a renewal in logs.
func (renewal Renewal) kind() string {
	name := ""
	for _, c := range renewal.Certificates {
		name = fmt.Sprintf("%s and %s", name, c.Kind)
	}
	return name[len(" and "):]
}

// due is when the first of the certificates is to be renewed.
func (renewal Renewal) due() time.Time {
	return renewal.first(func(s *Source) time.Time { return dueAt(s.Certificate().Leaf) })
}

// end is when the first of the certificates ends.
func (renewal Renewal) end() time.Time { return renewal.first((*Source).NotAfter) }

func (renewal Renewal) first(of func(*Source) time.Time) time.Time {
	first := of(renewal.Certificates[0].Source)
	for _, c := range renewal.Certificates[1:] {
		if at := of(c.Source); at.Before(first) {
			first = at
		}
	}
	return first
}

func (renewal Renewal) life() time.Duration {
	return lifeOf(renewal.Certificates[0].Source.Certificate().Leaf)
}

// pause is how long to wait after a failure.
func (renewal Renewal) pause() time.Duration {
	return min(max(renewal.life()/60, minRenewPause), maxRenewPause)
}

// sleepUntil waits for a moment of the wall clock; false when ctx ended first.
func sleepUntil(ctx context.Context, moment time.Time) bool {
	moment = moment.Round(0) // without the monotonic clock's reading
	for {
		left := time.Until(moment)
		if left <= 0 {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(min(left, wakeEvery))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}
