package faults

import (
	"context"
	"time"

	"github.com/ctlplane/ctlplane/test/robustness/members"
)

// power cuts a member's power, and gives it back.
func power(ctx context.Context, r *Run, m *members.Member) error {
	if err := m.PowerLoss(r.number); err != nil {
		return err
	}
	<-ctx.Done()
	return m.Start()
}

// hang has a member's disk answer nothing.
func hang(ctx context.Context, _ *Run, m *members.Member) error {
	m.Disk.Hang()
	<-ctx.Done()
	m.Disk.Heal()
	return nil
}

func slow(ctx context.Context, r *Run, m *members.Member) error {
	m.Disk.Slow(5*time.Millisecond + r.duration(60*time.Millisecond))
	<-ctx.Done()
	m.Disk.Heal()
	return nil
}

// fail has all writes to a member's disk fail. A member may end then, or refuse to write until it is started again.
func fail(ctx context.Context, _ *Run, m *members.Member) error {
	m.Disk.Fail()
	<-ctx.Done()
	m.Disk.Heal()
	m.Kill()
	return m.Start()
}

// full has a member's disk take no more. A member that ended is started again.
func full(ctx context.Context, _ *Run, m *members.Member) error {
	m.Disk.Full()
	<-ctx.Done()
	m.Disk.Heal()
	if !m.Ended() {
		return nil
	}
	m.Kill()
	return m.Start()
}
