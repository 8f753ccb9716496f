package raftstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/pki"
)

// TokenPrefix is where created tokens are kept in the store, each as a JSON pki.TokenRecord under its id.
const TokenPrefix = "/ctlplane/tokens/"

// door lets machines in that have proved a token: it is the join server's acceptor and token store.
type door struct {
	clusterID uint64
	open      bool                   // to machines that were added and know the members; see listToken
	member    atomic.Pointer[Member] // set once the member runs
}

var (
	_ pki.Acceptor   = (*door)(nil)
	_ pki.TokenStore = (*door)(nil)
)

func (d *door) running() (*Member, error) {
	if m := d.member.Load(); m != nil {
		return m, nil
	}
	return nil, pki.Refuse(pki.JoinUnavailable, "the master is starting")
}

// AcceptMaster implements pki.Acceptor.
func (d *door) AcceptMaster(ctx context.Context, request pki.JoinRequest) (pki.JoinAnswer, error) {
	m, err := d.running()
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
	return pki.JoinAnswer{ClusterID: d.clusterID, MemberID: id, Members: m.joinMembers()}, nil
}

// AcceptNode implements pki.Acceptor. A node may serve as itself: under its name, at the address that it
// calls from, and at addresses of its own that are no master's.
func (d *door) AcceptNode(ctx context.Context, request pki.JoinRequest, from net.Addr) (pki.JoinAnswer, error) {
	m, err := d.running()
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
	return pki.JoinAnswer{ClusterID: d.clusterID, Members: members, Hosts: hosts, ClusterCIDR: settings.ClusterCIDR.String()}, nil
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
			ID: record.ID, Name: record.Name, PeerAddress: hostPort(record.PeerURLs),
			ClientAddress: hostPort(record.ClientURLs), APIAddress: hostPort(record.APIURLs),
		})
	}
	return members
}

// hostPort is the reverse of urls.
func hostPort(urls []string) string {
	if len(urls) == 0 {
		return ""
	}
	scheme, address, _ := strings.Cut(urls[0], "://")
	if scheme == "unix" || scheme == "unixs" {
		return pki.SocketAddress(address)
	}
	return address
}

// Tokens keeps created tokens in the member's store.
func (m *Member) Tokens() pki.TokenStore {
	d := &door{clusterID: m.config.Identity.ClusterID}
	d.member.Store(m)
	return d
}

// CreateToken implements pki.TokenStore.
func (d *door) CreateToken(ctx context.Context, record pki.TokenRecord) error {
	m, err := d.running()
	if err != nil {
		return err
	}
	value, err := json.Marshal(record)
	if err != nil {
		return err
	}
	_, err = m.Put(ctx, &pb.PutRequest{Key: []byte(TokenPrefix + record.ID), Value: value})
	return err
}

// DeleteToken implements pki.TokenStore.
func (d *door) DeleteToken(ctx context.Context, id string) error {
	m, err := d.running()
	if err != nil {
		return err
	}
	deleted, err := m.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(TokenPrefix + id)})
	if err == nil && deleted.Deleted == 0 {
		return fmt.Errorf("there is no token %q: 'ctlplane token list' shows them", id)
	}
	return err
}

// ListTokens implements pki.TokenStore.
func (d *door) ListTokens(ctx context.Context) ([]pki.TokenRecord, error) {
	m, err := d.running()
	if err != nil {
		return nil, err
	}
	end := []byte(TokenPrefix)
	end[len(end)-1]++
	return tokens(m.Range(ctx, &pb.RangeRequest{Key: []byte(TokenPrefix), RangeEnd: end}))
}

// LookupToken implements pki.TokenStore.
func (d *door) LookupToken(ctx context.Context, id string) (pki.TokenRecord, bool, error) {
	m, err := d.running()
	if err != nil {
		return pki.TokenRecord{}, false, err
	}
	if id == listTokenID {
		if !d.open {
			return pki.TokenRecord{}, false, nil
		}
		return m.listToken().Record(pki.RoleMaster), true, nil
	}
	found, err := tokens(m.Range(ctx, &pb.RangeRequest{Key: []byte(TokenPrefix + id)}))
	if err != nil || len(found) == 0 {
		return pki.TokenRecord{}, false, err
	}
	return found[0], true, nil
}

func tokens(response *pb.RangeResponse, err error) ([]pki.TokenRecord, error) {
	if err != nil {
		return nil, err
	}
	var records []pki.TokenRecord
	var damaged error
	for _, pair := range response.Kvs {
		var record pki.TokenRecord
		if err := json.Unmarshal(pair.Value, &record); err != nil {
			damaged = errors.Join(damaged, fmt.Errorf("token %s is damaged: %w", pair.Key, err))
			continue
		}
		records = append(records, record)
	}
	return records, damaged
}
