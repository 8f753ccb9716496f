package raftstore

import (
	"testing"
)

func TestOneMember(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	m := c.members[0]
	r := m.put("a", "1")
	if h := r.Header; h.ClusterId != 1 || h.MemberId != m.config.Identity.MemberID || h.Revision != 2 || h.RaftTerm == 0 {
		t.Errorf("header %v", h)
	}
	m.wantValue("a", "1")
	m.stop()
	m.start()
	m.wantValue("a", "1")
}

func TestThreeMembers(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	for i, m := range c.members {
		m.put("key", string(rune('0'+i)))
		for _, reader := range c.members {
			reader.wantValue("key", string(rune('0'+i)))
		}
	}
}
