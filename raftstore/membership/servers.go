// Package membership says what can be said of a group's members without asking them: who they are, how many make a majority, and
// where they are reached. What changes a group, or asks its members, is a raftstore.Member's.
//
// All of it are functions without state.
package membership

import (
	"slices"
	"strconv"

	"github.com/hashicorp/raft"
)

// Find finds a member of a group.
func Find(servers []raft.Server, id raft.ServerID) (raft.Server, bool) {
	for _, server := range servers {
		if server.ID == id {
			return server, true
		}
	}
	return raft.Server{}, false
}

// Voters are the members that vote.
func Voters(servers []raft.Server) []raft.Server {
	return slices.DeleteFunc(slices.Clone(servers), func(server raft.Server) bool { return server.Suffrage != raft.Voter })
}

// Without is a group without a member.
func Without(servers []raft.Server, id raft.ServerID) []raft.Server {
	return slices.DeleteFunc(slices.Clone(servers), func(server raft.Server) bool { return server.ID == id })
}

// Majority is how many of so many voters commit an entry, and elect a leader.
func Majority(voters int) int { return voters/2 + 1 }

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
