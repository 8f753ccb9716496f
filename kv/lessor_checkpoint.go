package kv

import (
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// CheckpointBatch is the greatest number of checkpoints that are handed out at once.
	CheckpointBatch = 1000
	// checkpointsPerSecond bounds them: with very many leases each is recorded less often.
	checkpointsPerSecond = 1000

	// A lease is recorded when it has not been renewed for half of its time, or this, whichever is less. So one
	// that is renewed every third of its time, as etcd's clients do, is recorded only if that time is long.
	maxCheckpointInterval = 5 * time.Minute
	// Leases shorter than this are not: the next leader gives them all of it.
	minCheckpointTTL = 20
	// handOverInterval is, in place of maxCheckpointInterval, for a leader that hands over: what the next one
	// adds to the life of a lease is not more.
	handOverInterval = time.Minute
)

// Checkpoint says what is left of a lease, in seconds.
type Checkpoint struct{ ID, Remaining int64 }

// CheckpointCommand makes a command of checkpoints.
func CheckpointCommand(checkpoints ...Checkpoint) Command {
	r := &pb.LeaseCheckpointRequest{Checkpoints: make([]*pb.LeaseCheckpoint, len(checkpoints))}
	for i, c := range checkpoints {
		r.Checkpoints[i] = &pb.LeaseCheckpoint{ID: c.ID, Remaining_TTL: c.Remaining}
	}
	return Command{LeaseCheckpoint: r}
}

// propose has checkpoints recorded. mu is held since they were made: so a renewal that knows of one has it
// taken back by a proposal that comes later.
func (l *Lessor) propose(checkpoints []Checkpoint) {
	for batch := range slices.Chunk(checkpoints, CheckpointBatch) {
		l.record(batch)
	}
}

// HandOver has it recorded what is left of the leases that have not been renewed for a while, for a leader
// that is about to be followed by another one.
func (l *Lessor) HandOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Checkpoint
	now := l.now()
	for _, e := range l.leases {
		if e.checkpointable() && now-max(e.renewed, e.recordedAt) >= min(seconds(e.ttl)/2, handOverInterval) && e.expiry() > now {
			all = append(all, e.checkpoint(now))
		}
	}
	l.propose(all)
}

func (e *lease) checkpointable() bool { return e.ttl >= minCheckpointTTL }

// nextCheckpoint is when what is left should be recorded; after the lease's expiry, if not at all.
func (e *lease) nextCheckpoint() time.Duration {
	if !e.checkpointable() {
		return e.expiry()
	}
	return max(e.renewed, e.recordedAt) + min(seconds(e.ttl)/2, maxCheckpointInterval)
}

// checkpoint is what is left of the lease now, which has not expired. What is begun of a second counts.
func (e *lease) checkpoint(now time.Duration) Checkpoint {
	e.recorded, e.recordedAt = true, now
	e.checkpoints++
	left := e.expiry() - now
	return Checkpoint{ID: e.id, Remaining: int64((left + time.Second - 1) / time.Second)}
}

// clear takes the lease's checkpoints back. mu is held, and given up meanwhile. A checkpoint that is recorded
// in that time needs to be taken back again.
func (l *Lessor) clear(e *lease, propose func(Checkpoint) error) error {
	e.recordedAt = l.now() // which puts the next one off
	checkpoints := e.checkpoints
	l.mu.Unlock()
	err := propose(Checkpoint{ID: e.id, Remaining: e.ttl})
	l.mu.Lock()
	if err == nil && e.checkpoints == checkpoints {
		e.recorded = false
	}
	return err
}
