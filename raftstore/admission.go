package raftstore

import (
	"context"
	"net"
	"slices"
	"sync/atomic"

	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// admission admits machines that have proved a token: it is the join server's acceptor and token store.
type admission struct {
	clusterID uint64
	open      bool                   // to machines that were added and know the members; see listToken
	member    atomic.Pointer[Member] // set once the member runs
}

var (
	_ pki.Acceptor   = (*admission)(nil)
	_ pki.TokenStore = (*admission)(nil)
)

func (a *admission) running() (*Member, error) {
	if m := a.member.Load(); m != nil {
		return m, nil
	}
	return nil, pki.Refuse(pki.JoinUnavailable, "the master is starting")
}

// AcceptMaster implements pki.Acceptor.
func (a *admission) AcceptMaster(ctx context.Context, request pki.JoinRequest) (pki.JoinAnswer, error) {
	m, err := a.running()
	if err != nil {
		return pki.JoinAnswer{}, err
	}
	id, err := m.AddMember(ctx, NewMember{
		Name: request.Name, PeerAddress: request.PeerAddress,
		ClientAddress: request.ClientAddress, APIAddress: request.APIAddress,
	})
	if err != nil {
		return pki.JoinAnswer{}, err
	}
	return pki.JoinAnswer{ClusterID: a.clusterID, MemberID: id, Members: m.joinMembers()}, nil
}

// AcceptNode implements pki.Acceptor. A node may serve as itself: under its name, at the address that it
// calls from, and at addresses of its own that are no master's.
func (a *admission) AcceptNode(ctx context.Context, request pki.JoinRequest, from net.Addr) (pki.JoinAnswer, error) {
	m, err := a.running()
	if err != nil {
		return pki.JoinAnswer{}, err
	}
	if m.config.Identity.ClientInsecure {
		return pki.JoinAnswer{}, pki.Refuse(pki.JoinRefused,
			"this master's client port is in plain text, where nodes can't be told apart: start the masters without --kv-insecure")
	}
	settings, settled, err := m.Settings(ctx)
	if err != nil {
		return pki.JoinAnswer{}, err
	}
	if !settled {
		return pki.JoinAnswer{}, pki.Refuse(pki.JoinUnavailable, "the masters are still starting: the cluster's address ranges are not written down yet")
	}
	members := m.joinMembers()
	hosts := []string{request.Name}
	if tcp, ok := from.(*net.TCPAddr); ok {
		hosts = append(hosts, tcp.IP.String())
	}
	for _, host := range request.Hosts {
		if net.ParseIP(host) != nil && !slices.Contains(hosts, host) && !servesAt(members, host) {
			hosts = append(hosts, host)
		}
	}
	return pki.JoinAnswer{ClusterID: a.clusterID, Members: members, Hosts: hosts, ClusterCIDR: settings.ClusterCIDR.String()}, nil
}

func servesAt(members []pki.JoinMember, host string) bool {
	return slices.ContainsFunc(members, func(member pki.JoinMember) bool {
		for _, address := range []string{member.PeerAddress, member.ClientAddress, member.APIAddress} {
			if own, _, err := net.SplitHostPort(address); err == nil && own == host {
				return true
			}
		}
		return false
	})
}

func (m *Member) joinMembers() []pki.JoinMember {
	var members []pki.JoinMember
	for _, record := range m.MemberRecords() {
		members = append(members, pki.JoinMember{
			ID: record.ID, Name: record.Name, PeerAddress: membership.HostPort(record.PeerURLs),
			ClientAddress: membership.HostPort(record.ClientURLs), APIAddress: membership.HostPort(record.APIURLs),
		})
	}
	return members
}
