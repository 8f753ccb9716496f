package raftstore

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// listTokenID names the token that every member can work out from the list of all members. No created token has it:
// theirs are longer.
const listTokenID = "members"

// listToken is what a machine proves that was added to a cluster whose members share no secret: that it knows the
// addresses of all of them, its own included. It keeps a machine out that was started with another cluster's list; it
// keeps nobody out who knows the list.
func listToken(peerAddresses []string) pki.Token {
	sorted := slices.Clone(peerAddresses)
	slices.Sort(sorted)
	sum := sha256.Sum256([]byte(strings.Join(slices.Compact(sorted), "\n")))
	return pki.NamedToken(listTokenID, hex.EncodeToString(sum[:]))
}

// listToken is made of the present members.
func (m *Member) listToken() pki.Token {
	var addresses []string
	for _, record := range m.MemberRecords() {
		addresses = append(addresses, membership.HostPort(record.PeerURLs))
	}
	return listToken(addresses)
}
