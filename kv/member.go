package kv

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// Member is the replicated record of one Raft member. Its first five fields have the numbers and meaning
// of etcd's Member message.
type Member struct {
	ID         uint64
	Name       string
	PeerURLs   []string
	ClientURLs []string
	IsLearner  bool
	// APIURLs are where the member serves the Kubernetes API.
	APIURLs []string
	// Rules is the highest version of rules that the member knows.
	Rules Rules
}

// MemberOperation is what a MemberUpdate does.
type MemberOperation uint8

// The member operations. Their numbers are in the Raft log: never renumber.
const (
	// MemberSet writes the whole record, whether the member is known or not.
	MemberSet MemberOperation = iota + 1
	// MemberAdd writes the record of a member that must not be known yet.
	MemberAdd
	// MemberUpdateExisting writes the record of a member that must be known.
	MemberUpdateExisting
	// MemberRemove forgets a member for good: its ID is never accepted again.
	MemberRemove
)

// MemberUpdate changes the record of one member. Of a MemberRemove only the ID counts. Apply answers it with
// an etcdserverpb.MemberUpdateResponse, of which only the header is filled in.
type MemberUpdate struct {
	Operation MemberOperation
	Member    Member
}

func (m *Member) append(b []byte) []byte {
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, m.ID)
	b = appendStrings(b, 2, []string{m.Name})
	b = appendStrings(b, 3, m.PeerURLs)
	b = appendStrings(b, 4, m.ClientURLs)
	if m.IsLearner {
		b = protowire.AppendTag(b, 5, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	b = appendStrings(b, 6, m.APIURLs)
	if m.Rules != 0 {
		b = protowire.AppendTag(b, 7, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(m.Rules))
	}
	return b
}

func appendStrings(b []byte, field protowire.Number, values []string) []byte {
	for _, v := range values {
		b = protowire.AppendTag(b, field, protowire.BytesType)
		b = protowire.AppendString(b, v)
	}
	return b
}

func decodeMember(b []byte) (Member, error) {
	var m Member
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return Member{}, layout.ErrCorruptRecord
		}
		b = b[n:]
		switch {
		case field == 1 && kind == protowire.VarintType:
			m.ID, n = protowire.ConsumeVarint(b)
		case field == 5 && kind == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			m.IsLearner = v != 0
		case field == 7 && kind == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			m.Rules = Rules(v)
		case kind == protowire.BytesType && field != 1 && field <= 6:
			var s string
			s, n = protowire.ConsumeString(b)
			m.setString(field, s)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return Member{}, layout.ErrCorruptRecord
		}
		b = b[n:]
	}
	return m, nil
}

func (m *Member) setString(field protowire.Number, s string) {
	switch field {
	case 2:
		m.Name = s
	case 3:
		m.PeerURLs = append(m.PeerURLs, s)
	case 4:
		m.ClientURLs = append(m.ClientURLs, s)
	case 6:
		m.APIURLs = append(m.APIURLs, s)
	}
}

func (m Member) clone() Member {
	m.PeerURLs = slices.Clone(m.PeerURLs)
	m.ClientURLs = slices.Clone(m.ClientURLs)
	m.APIURLs = slices.Clone(m.APIURLs)
	return m
}
