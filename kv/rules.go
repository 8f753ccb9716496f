package kv

import (
	"fmt"
	"math"
)

// Rules is a version of the checks by which Apply takes or refuses a command. All members must answer an entry alike, those
// of older releases too, so an entry carries the version by which it is checked.
//
// Invariants:
//  1. What a version checks never changes. A release that checks otherwise adds a version, and checks the entries of the
//     versions before as they were. Version 0 is that of entries that carry none.
//  2. A version is used once all members of the group have said, in their records, that they know it, and from then on by every leader,
//     whatever the records of members that come later say: State.Rules is the highest that was applied.
//  3. An entry of a version that this release doesn't know is not applied.
type Rules uint32

// KnownRules is the highest version that this release knows. Who adds one asks for the entry's version in Command.check.
const KnownRules Rules = 0

// check is Validate by the rules of an entry: of all versions so far the same.
func (c *Command) check(Rules) error { return c.Validate() }

// Rules is the version of the entries that a leader of a group of these members proposes now.
func (s *Store) Rules(group []uint64) Rules {
	return max(Rules(s.current.Load().Rules), min(s.members.rules(group), s.options.Rules))
}

// KnownRules is what this member's record has to say.
func (s *Store) KnownRules() Rules { return s.options.Rules }

// rules is the highest version that all members say they know, those of the group that have said nothing yet included.
func (t *memberTable) rules(group []uint64) Rules {
	t.mu.RLock()
	defer t.mu.RUnlock()
	lowest := Rules(math.MaxUint32)
	for _, id := range group {
		if _, ok := t.records[id]; !ok {
			return 0
		}
	}
	for _, r := range t.records {
		if !r.removed {
			lowest = min(lowest, r.member.Rules)
		}
	}
	return lowest
}

// knows tells whether entries of this version may be applied here.
func (s *Store) knows(e *Entry) error {
	if e.Rules <= s.options.Rules {
		return nil
	}
	return fmt.Errorf("kv: entry %d is checked by rules %d, and this release knows rules up to %d: give this member the release of the others", e.Index, e.Rules, s.options.Rules)
}
