// Package entry is what a Raft entry of ours looks like.
//
// It is a version byte and the commands of a group commit, each after its length. One with no commands is a barrier: who has
// applied it has applied everything before it. In format 2 the version of the rules by which the commands are checked comes
// before them; format 1 has none, which is version 0. Every release reads the formats of those before it.
package entry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/ctlplane/ctlplane/kv"
)

const (
	format      = 1
	formatRules = 2
)

var errDamaged = errors.New("a Raft entry is damaged")

// Append starts an entry, or adds a command to it.
func Append(entry, command []byte) []byte {
	entry = binary.AppendUvarint(entry, uint64(len(command)))
	return append(entry, command...)
}

// New starts an entry without rules, which will have so many bytes.
func New(size int) []byte {
	return append(make([]byte, 0, size), format)
}

// NewBy starts an entry of which the commands are checked by rules.
func NewBy(rules kv.Rules, size int) []byte {
	if rules == 0 {
		return New(size)
	}
	entry := append(make([]byte, 0, size+binary.MaxVarintLen32), formatRules)
	return binary.AppendUvarint(entry, uint64(rules))
}

// Split returns the rules of an entry, and what follows them.
func Split(entry []byte) (kv.Rules, []byte, error) {
	if len(entry) == 0 {
		return 0, nil, errDamaged
	}
	switch entry[0] {
	case format:
		return 0, entry[1:], nil
	case formatRules:
		rules, n := binary.Uvarint(entry[1:])
		if n <= 0 || rules > math.MaxUint32 {
			return 0, nil, errDamaged
		}
		return kv.Rules(rules), entry[1+n:], nil
	}
	return 0, nil, fmt.Errorf("a Raft entry has format %d, this release knows %d: run the same release on all members", entry[0], formatRules)
}

// Decode reads the commands of an entry, from what splitEntry returns. They don't alias it.
func Decode(rest []byte) ([]kv.Command, error) {
	var commands []kv.Command
	for len(rest) > 0 {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return nil, errDamaged
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
