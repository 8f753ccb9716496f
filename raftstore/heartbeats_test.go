package raftstore

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestNoHeartbeatIsHandledAfterTheEnd: one that came while a member ended noted its term in a closed store, and the process died.
func TestNoHeartbeatIsHandledAfterTheEnd(t *testing.T) {
	open := func() *raft.NetworkTransport {
		network, err := raft.NewTCPTransport("127.0.0.1:0", nil, 1, time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = network.Close() })
		return network
	}
	member, leader := newTransport(open(), nil), open()
	handled := 0
	member.SetHeartbeatHandler(func(rpc raft.RPC) {
		handled++
		rpc.Respond(&raft.AppendEntriesResponse{}, nil)
	})
	beat := func() error {
		header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, Addr: []byte("leader")}
		return leader.AppendEntries("m", member.LocalAddr(), &raft.AppendEntriesRequest{RPCHeader: header, Term: 2}, &raft.AppendEntriesResponse{})
	}
	if err := beat(); err != nil || handled != 1 {
		t.Fatalf("a heartbeat: %v, and %d were handled", err, handled)
	}
	member.heartbeats.close()
	if err := beat(); err == nil || handled != 1 {
		t.Errorf("a heartbeat after the end: %v, and %d were handled", err, handled)
	}
}
