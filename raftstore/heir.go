package raftstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/peers"
)

// heirPatience is how long a leader that hands over waits for better heirs after the first that will do.
const heirPatience = 200 * time.Millisecond

// chooseHeir finds the voter to hand the lead to: of those whose disk works and who are fit, the one that has the most of the
// log, which the others will vote for. There has to be a number of them. Who doesn't answer is not waited for once there is.
func (m *Member) chooseHeir(ctx context.Context, number int, fit func(*peers.Health) bool) (raft.Server, bool) {
	type answer struct {
		raft.Server
		*peers.Health
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(ctx, m.healthTimeout())
	defer cancel()
	servers := m.servers()
	answers := make(chan answer, len(servers))
	asked := 0
	for _, server := range servers {
		if server.Suffrage == raft.Voter && server.ID != membership.ServerID(m.config.Identity.MemberID) {
			asked++
			asking.Go(func() {
				health, _ := m.peers.Health(ctx, server.ID)
				answers <- answer{server, health}
			})
		}
	}
	var best answer
	var enough <-chan time.Time
	for ; asked > 0; asked-- {
		select {
		case a := <-answers:
			if a.Health == nil || len(a.Hanging) > 0 || !fit(a.Health) {
				continue
			}
			if best.Health == nil || a.LastIndex > best.LastIndex {
				best = a
			}
			if number--; number == 0 {
				enough = time.After(heirPatience)
			}
		case <-enough:
			return best.Server, true
		}
	}
	return best.Server, number <= 0
}

// healthTimeout bounds the question after a member's health: a member whose disk hangs knows after an election timeout.
func (m *Member) healthTimeout() time.Duration { return m.config.HeartbeatTimeout + aliveTimeout }

// works tells whether a member answers, and its disk works.
func (m *Member) works(ctx context.Context, id raft.ServerID) bool {
	if id == membership.ServerID(m.config.Identity.MemberID) {
		return !m.stalls()
	}
	health, err := m.healthOf(ctx, id)
	return err == nil && len(health.Hanging) == 0
}

func (m *Member) healthOf(ctx context.Context, id raft.ServerID) (*peers.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, m.healthTimeout())
	defer cancel()
	return m.peers.Health(ctx, id)
}

// ownHealth is what this member answers.
func (m *Member) ownHealth(ctx context.Context) *peers.Health {
	ctx, cancel := context.WithTimeout(ctx, m.config.HeartbeatTimeout)
	defer cancel()
	hanging := m.hanging()
	if !slices.Contains(hanging, disk.WorkLog) && m.raft.State() != raft.Leader && !m.stores.Log.Durable(m.raft.LastIndex()) {
		hanging = append(slices.Clone(hanging), disk.WorkLog) // of when it led, and the disk refused it
	}
	if !slices.Contains(hanging, disk.WorkVote) && m.probe.Works(ctx) != nil {
		hanging = append(slices.Clone(hanging), disk.WorkVote)
	}
	return &peers.Health{
		Id:           m.config.Identity.MemberID,
		LastIndex:    m.raft.LastIndex(),
		AppliedIndex: m.machine.Store().AppliedIndex(),
		Hanging:      hanging,
	}
}
