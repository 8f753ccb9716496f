package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/ctlplane/ctlplane/kv"
)

// A Raft entry of ours is a version byte and the commands of a group commit, each after its length. One
// with no commands is a barrier: who has applied it has applied everything before it. In format 2 the version of the rules by
// which the commands are checked comes before them; format 1 has none, which is version 0.
const (
	entryVersion      = 1
	entryVersionRules = 2
)

var errEntry = errors.New("a Raft entry is damaged")

// appendEntry starts an entry, or adds a command to it.
func appendEntry(entry, command []byte) []byte {
	entry = binary.AppendUvarint(entry, uint64(len(command)))
	return append(entry, command...)
}

func newEntry(size int) []byte {
	return append(make([]byte, 0, size), entryVersion)
}

// newEntryBy starts an entry of which the commands are checked by rules.
func newEntryBy(rules kv.Rules, size int) []byte {
	if rules == 0 {
		return newEntry(size)
	}
	entry := append(make([]byte, 0, size+binary.MaxVarintLen32), entryVersionRules)
	return binary.AppendUvarint(entry, uint64(rules))
}

// splitEntry returns the rules of an entry, and what follows them.
func splitEntry(entry []byte) (kv.Rules, []byte, error) {
	if len(entry) == 0 {
		return 0, nil, errEntry
	}
	switch entry[0] {
	case entryVersion:
		return 0, entry[1:], nil
	case entryVersionRules:
		rules, n := binary.Uvarint(entry[1:])
		if n <= 0 || rules > math.MaxUint32 {
			return 0, nil, errEntry
		}
		return kv.Rules(rules), entry[1+n:], nil
	}
	return 0, nil, fmt.Errorf("a Raft entry has format %d, this release knows %d: run the same release on all members", entry[0], entryVersionRules)
}

// decodeCommands reads the commands of an entry, from what splitEntry returns. They don't alias it.
func decodeCommands(rest []byte) ([]kv.Command, error) {
	var commands []kv.Command
	for len(rest) > 0 {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return nil, errEntry
		}
		command, err := kv.DecodeCommand(rest[n : n+int(size)])
		if err != nil {
			return nil, err
		}
		commands = append(commands, command)
		rest = rest[n+int(size):]
	}
	return commands, nil
}
