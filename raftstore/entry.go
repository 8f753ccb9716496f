package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ctlplane/ctlplane/kv"
)

// A Raft entry of ours is a version byte and the commands of a group commit, each after its length. One
// with no commands is a barrier: who has applied it has applied everything before it.
const entryVersion = 1

var errEntry = errors.New("a Raft entry is damaged")

// appendEntry starts an entry, or adds a command to it.
func appendEntry(entry, command []byte) []byte {
	entry = binary.AppendUvarint(entry, uint64(len(command)))
	return append(entry, command...)
}

func newEntry(size int) []byte {
	return append(make([]byte, 0, size), entryVersion)
}

// decodeEntry reads the commands of an entry. They don't alias it.
func decodeEntry(entry []byte) ([]kv.Command, error) {
	if len(entry) == 0 {
		return nil, errEntry
	}
	if entry[0] != entryVersion {
		return nil, fmt.Errorf("a Raft entry has format %d, this release knows %d: run the same release on all members", entry[0], entryVersion)
	}
	var commands []kv.Command
	for rest := entry[1:]; len(rest) > 0; {
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
