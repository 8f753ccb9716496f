package peers

import (
	"strconv"

	"github.com/hashicorp/raft"
)

// ServerID is a member's id as Raft has it.
func ServerID(id uint64) raft.ServerID {
	return raft.ServerID(strconv.FormatUint(id, 16))
}

// MemberID is the reverse of ServerID, 0 for what is no id of ours.
func MemberID(id raft.ServerID) uint64 {
	n, err := strconv.ParseUint(string(id), 16, 64)
	if err != nil {
		return 0 // no id of ours
	}
	return n
}
