package kv

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// Kinds of a NOSPACE alarm that only members themselves raise. A client sees each as NOSPACE, and takes all
// of a member's back by deactivating that.
const (
	// AlarmQuota is raised by the leader when what is stored exceeds its quota. Every write of a value is
	// refused for as long as it is raised.
	AlarmQuota pb.AlarmType = 64
	// AlarmDisk is raised by a member whose disk is nearly full. Writes of values are refused once the
	// members that have room are no majority: until then those carry on without it.
	AlarmDisk pb.AlarmType = 65
)

// alarmSet is what one member has raised, or was raised for it; the bits are in the database.
type alarmSet uint8

const (
	alarmNoSpace alarmSet = 1 << iota
	alarmQuota
	alarmDisk
	alarmCorrupt

	anyNoSpace = alarmNoSpace | alarmQuota | alarmDisk
)

// raises is the bit that an activation sets, clears those that a deactivation takes away.
func alarmBits(t pb.AlarmType) (raises, clears alarmSet) {
	switch t {
	case pb.AlarmType_NOSPACE:
		return alarmNoSpace, anyNoSpace
	case AlarmQuota:
		return alarmQuota, alarmQuota
	case AlarmDisk:
		return alarmDisk, alarmDisk
	case pb.AlarmType_CORRUPT:
		return alarmCorrupt, alarmCorrupt
	}
	return 0, 0
}

// shown are the alarms of a member as clients know them.
func (a alarmSet) shown(member uint64) []*pb.AlarmMember {
	var all []*pb.AlarmMember
	if a&anyNoSpace != 0 {
		all = append(all, &pb.AlarmMember{MemberID: member, Alarm: pb.AlarmType_NOSPACE})
	}
	if a&alarmCorrupt != 0 {
		all = append(all, &pb.AlarmMember{MemberID: member, Alarm: pb.AlarmType_CORRUPT})
	}
	return all
}

// alarmTable is the alarms in memory, as the committed batches made them, and what they refuse.
type alarmTable struct {
	mu          sync.RWMutex
	raised      map[uint64]alarmSet // by member; none is empty
	restriction restriction
}

type alarmChange struct {
	member uint64
	set    alarmSet
}

// restriction is which commands the alarms refuse. It follows from the alarms and the members alone, so it is the
// same everywhere.
type restriction struct{ noSpace, corrupt bool }

const alarmPrefix = "alarm/"

func alarmKey(member uint64) []byte {
	return layout.MetaKey(alarmPrefix + string(binary.BigEndian.AppendUint64(nil, member)))
}

func (t *alarmTable) load(db pebble.Reader, members *memberTable) error {
	t.raised = map[uint64]alarmSet{}
	lower, upper := layout.MetaKey(alarmPrefix), layout.MetaKey("alarm0") // '0' follows '/'
	err := layout.EachBetween(db, lower, upper, func(k, v []byte) error {
		if len(k) != len(alarmKey(0)) || len(v) != 1 {
			return layout.ErrCorruptRecord
		}
		t.raised[binary.BigEndian.Uint64(k[1+len(alarmPrefix):])] = alarmSet(v[0])
		return nil
	})
	t.restriction = newRestriction(t.raised, members.votes(nil))
	return err
}

// commit takes over what a batch changed. A change of members may change what is refused, too.
func (t *alarmTable) commit(w *writer) {
	if w.restriction == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.raised = w.raisedAlarms(t.raised)
	t.restriction = *w.restriction
}

func (t *alarmTable) current() restriction {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.restriction
}

// newRestriction works out what is refused. votes has every member, and whether it has a vote.
func newRestriction(raised map[uint64]alarmSet, votes map[uint64]bool) restriction {
	var now restriction
	voters, withRoom := 0, 0
	diskFull := false
	for member, votes := range votes {
		if !votes {
			continue
		}
		voters++
		if raised[member]&alarmDisk == 0 {
			withRoom++
		}
	}
	for _, set := range raised {
		now.corrupt = now.corrupt || set&alarmCorrupt != 0
		now.noSpace = now.noSpace || set&(alarmNoSpace|alarmQuota) != 0
		diskFull = diskFull || set&alarmDisk != 0
	}
	now.noSpace = now.noSpace || diskFull && withRoom < voters/2+1
	return now
}

// votes returns all members, with changes on top, and whether each has a vote.
func (t *memberTable) votes(changes []memberChange) map[uint64]bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	votes := map[uint64]bool{}
	add := func(id uint64, r memberRecord) {
		delete(votes, id)
		if !r.removed {
			votes[id] = !r.member.IsLearner
		}
	}
	for id, r := range t.records {
		add(id, r)
	}
	for _, c := range changes {
		add(c.id, c.record)
	}
	return votes
}

// Alarms returns the alarms that are raised, by member and type. A member that has raised NOSPACE for more
// than one reason has it once.
func (s *Store) Alarms() []*pb.AlarmMember {
	s.alarms.mu.RLock()
	defer s.alarms.mu.RUnlock()
	var all []*pb.AlarmMember
	for _, member := range slices.Sorted(maps.Keys(s.alarms.raised)) {
		all = append(all, s.alarms.raised[member].shown(member)...)
	}
	return all
}

// Alarmed returns the members that an alarm of this very type is raised for: other than Alarms it tells
// AlarmQuota, AlarmDisk and a client's NOSPACE apart.
func (s *Store) Alarmed(t pb.AlarmType) []uint64 {
	bit, _ := alarmBits(t)
	s.alarms.mu.RLock()
	defer s.alarms.mu.RUnlock()
	var members []uint64
	for member, set := range s.alarms.raised {
		if set&bit != 0 {
			members = append(members, member)
		}
	}
	slices.SortFunc(members, cmp.Compare[uint64])
	return members
}

// Refused returns ErrCorrupt or ErrNoSpace for a command that Apply would refuse now because of an alarm,
// and nil for all others. It is for turning a command away before it is proposed.
func (s *Store) Refused(c *Command) error { return s.alarms.current().refuse(c) }

// Readable returns ErrCorrupt while a CORRUPT alarm is raised: clients' reads are refused then.
func (s *Store) Readable() error {
	if s.alarms.current().corrupt {
		return ErrCorrupt
	}
	return nil
}

// refuse tells whether a command is refused. A corrupt store refuses whatever a client does with keys and
// leases; one without room, what takes room. What the cluster does to recover is never refused.
func (r restriction) refuse(c *Command) error {
	if r.corrupt && (c.Put != nil || c.DeleteRange != nil || c.Txn != nil || c.Compact != nil || c.LeaseGrant != nil || c.LeaseRevoke != nil) {
		return ErrCorrupt
	}
	if r.noSpace && c.TakesRoom() {
		return ErrNoSpace
	}
	return nil
}

// TakesRoom tells whether a command may store a value or a lease.
func (c *Command) TakesRoom() bool {
	return c.Put != nil || c.LeaseGrant != nil || c.Txn != nil && txnPuts(c.Txn)
}

func txnPuts(t *pb.TxnRequest) bool {
	for _, ops := range [...][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range ops {
			if op.GetRequestPut() != nil || op.GetRequestTxn() != nil && txnPuts(op.GetRequestTxn()) {
				return true
			}
		}
	}
	return false
}

func validateAlarm(r *pb.AlarmRequest) error {
	raises, _ := alarmBits(r.Alarm)
	if r.Action != pb.AlarmRequest_ACTIVATE && r.Action != pb.AlarmRequest_DEACTIVATE || raises == 0 {
		return fmt.Errorf("%w: alarm action %d, type %d", ErrInvalidCommand, r.Action, r.Alarm)
	}
	return nil
}

// refused tells whether the alarms, as the command sees them, refuse it.
func (w *writer) refused(c *Command) error {
	if w.restriction != nil {
		return w.restriction.refuse(c)
	}
	return w.store.alarms.current().refuse(c)
}

// raisedAlarms is raised with the batch's changes on top.
func (w *writer) raisedAlarms(raised map[uint64]alarmSet) map[uint64]alarmSet {
	all := maps.Clone(raised)
	for _, c := range w.alarmChanges {
		if c.set == 0 {
			delete(all, c.member)
		} else {
			all[c.member] = c.set
		}
	}
	return all
}

// updateRestriction works out what is refused after an alarm or the members have changed. The alarms of members that
// were removed go with them.
func (w *writer) updateRestriction() error {
	w.store.alarms.mu.RLock()
	raised := w.raisedAlarms(w.store.alarms.raised)
	w.store.alarms.mu.RUnlock()
	for member := range raised {
		if r, known := w.memberRecord(member); !known || !r.removed {
			continue
		}
		if err := w.batch.Delete(alarmKey(member), nil); err != nil {
			return err
		}
		w.alarmChanges = append(w.alarmChanges, alarmChange{member: member})
		delete(raised, member)
	}
	now := newRestriction(raised, w.store.members.votes(w.memberChanges))
	w.restriction = &now
	return nil
}

// alarm raises an alarm, or takes one back. The answer has the alarm that it raised or took back; none if
// there was none to take back.
func (w *writer) alarm(r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	w.store.alarms.mu.RLock()
	old := w.raisedAlarms(w.store.alarms.raised)[r.MemberID]
	w.store.alarms.mu.RUnlock()
	raises, clears := alarmBits(r.Alarm)
	set, told := old|raises, raises
	if r.Action == pb.AlarmRequest_DEACTIVATE {
		set, told = old&^clears, old&clears
	}
	response := &pb.AlarmResponse{Header: header64(w.state.Revision), Alarms: told.shown(r.MemberID)}
	if set == old {
		return response, nil
	}
	var err error
	if set == 0 {
		err = w.batch.Delete(alarmKey(r.MemberID), nil)
	} else {
		err = w.batch.Set(alarmKey(r.MemberID), []byte{byte(set)}, nil)
	}
	w.alarmChanges = append(w.alarmChanges, alarmChange{r.MemberID, set})
	return response, err
}
