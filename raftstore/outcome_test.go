package raftstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/raftlog/logtest"
)

// screenedLog asks before entries are written; an error is that of the disk.
type screenedLog struct {
	raft.LogStore
	screen atomic.Pointer[func(*raft.Log) error]
}

func (l *screenedLog) StoreLogs(logs []*raft.Log) error {
	if screen := l.screen.Load(); screen != nil {
		for _, log := range logs {
			if err := (*screen)(log); err != nil {
				return err
			}
		}
	}
	return l.LogStore.StoreLogs(logs)
}

// set has each entry asked about from now on; nil: none.
func (l *screenedLog) set(screen func(*raft.Log) error) {
	if screen == nil {
		l.screen.Store(nil)
		return
	}
	l.screen.Store(&screen)
}

func refuseConfigurations(log *raft.Log) error {
	if log.Type == raft.LogConfiguration {
		return errors.New("the disk fails")
	}
	return nil
}

// TestMembersRecordInFlightIsUnknown: a change of the members that waits for its record when its time is over may yet be made,
// at the leader and through a follower.
func TestMembersRecordInFlightIsUnknown(t *testing.T) {
	disks := map[string]*logtest.Hanging{}
	c := newTestCluster(t, 2, func(config *Config) {
		patient(config)
		config.RequestTimeout = 3 * time.Second
		config.wrapLog = func(store raft.LogStore) raft.LogStore {
			disks[config.Identity.Name] = logtest.NewHanging(store)
			return disks[config.Identity.Name]
		}
	})
	leader := c.leader()
	disk := disks[leader.config.Identity.Name]
	for i, m := range []*testMember{leader, c.follower()} {
		disk.Set(true, nil)
		url := fmt.Sprintf("http://127.0.0.1:%d", i+1)
		id, err := m.ReserveMember(testContext(t), []string{url}, false)
		if !errors.Is(err, ErrOutcomeUnknown) || errors.Is(err, ErrNoLeader) || failure.Retryable(err) {
			t.Errorf("added at %s while the record is in flight: %x, %v", m.config.Identity.Name, id, err)
		}
		disk.Set(false, nil)
		eventually(t, "the record to be written after all", func() bool {
			return slices.ContainsFunc(leader.MemberRecords(), func(record kv.Member) bool { return record.PeerURLs[0] == url })
		})
		for _, record := range leader.MemberRecords() {
			if record.PeerURLs[0] == url {
				if err := leader.RemoveMember(testContext(t), record.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
	}

	// What a context ended of says nothing of the command that waited for it.
	disk.Set(true, nil)
	defer disk.Set(false, nil)
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, ErrNoLeader)
	defer cancel()
	if _, err := leader.Propose(ctx, putCommand("key", "value")); errors.Is(err, ErrNoLeader) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write that is in flight: %v", err)
	}
}

// TestChangeThatIsHalfMadeIsUnknown: where the second step of a change of the members fails, the first is made already, and the
// leader may go on with it by itself: it is not said to have failed, and not tried anew.
func TestChangeThatIsHalfMadeIsUnknown(t *testing.T) {
	disks := map[string]*screenedLog{}
	c := newTestCluster(t, 2, func(config *Config) {
		config.wrapLog = func(store raft.LogStore) raft.LogStore {
			disks[config.Identity.Name] = &screenedLog{LogStore: store}
			return disks[config.Identity.Name]
		}
	})
	change := func(what string, screen func(leader *testMember) func(*raft.Log) error, make func(leader *testMember) error) {
		t.Helper()
		leader := c.leader()
		disk := disks[leader.config.Identity.Name]
		disk.set(screen(leader))
		err := make(leader)
		disk.set(nil)
		if !errors.Is(err, ErrOutcomeUnknown) || failure.Retryable(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Raft goes by a configuration also where its disk has refused it, until it is opened anew.
	restart := func() {
		for _, m := range c.members {
			m.stop()
			m.start()
		}
	}
	refuse := func(*testMember) func(*raft.Log) error { return refuseConfigurations }

	change("adding", refuse, func(leader *testMember) error {
		_, err := leader.AddMember(testContext(t), NewMember{Name: "other", PeerAddress: "127.0.0.1:1"})
		return err
	})
	restart()

	address := freeAddress(t)
	id := c.leader().reserve(address, true)
	m := c.startReserved(id, address)
	m.eventually("to be ready", func() bool {
		return c.leader().ready(testContext(t), membership.ServerID(id)) && m.listed(id).Name != ""
	})
	change("promoting", refuse, func(leader *testMember) error { return leader.PromoteMember(testContext(t), id) })
	restart()
	m.eventually("to vote all the same", func() bool { return !m.Status().IsLearner })

	change("updating", refuse, func(leader *testMember) error {
		return leader.UpdateMember(testContext(t), id, []string{"https://" + address})
	})
	restart()

	full := func(leader *testMember) func(*raft.Log) error { // once the group is changed nothing else is taken
		return func(log *raft.Log) error {
			if log.Type == raft.LogConfiguration {
				leader.proposer.LimitQueue(0)
			}
			return nil
		}
	}
	var led, gone *testMember
	change("removing", full, func(leader *testMember) error {
		led = leader
		for _, m := range c.members {
			if m != leader {
				gone = m
			}
		}
		return leader.RemoveMember(testContext(t), gone.config.Identity.MemberID)
	})
	led.proposer.LimitQueue(1000)
	eventually(t, "the record to go all the same", func() bool {
		_, recorded := led.record(gone.config.Identity.MemberID)
		return !recorded
	})
}
