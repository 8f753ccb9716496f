package raftstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/peers"
)

const (
	// dialTimeout bounds one attempt to reach a master.
	dialTimeout = 3 * time.Second
	// joinPause is between rounds of attempts, progressInterval between two reports of them.
	joinPause        = 250 * time.Millisecond
	progressInterval = 5 * time.Second
)

// errNobody says that no master of a cluster answered.
var errNobody = errors.New("no master of the cluster answers")

// errOtherList tells what members prove to each other where there is no secret between them.
var errOtherList = errors.New("members know each other by --initial-cluster and --initial-cluster-token, which must be the same on all that begin a cluster; one that joins later is added with 'member add' first, and started with --initial-cluster-state existing and an --initial-cluster that lists all present members and itself")

// joinExisting joins the cluster of Peers, which this machine was added to.
func (b *bootstrap) joinExisting(ctx context.Context, here Identity) (*Cluster, error) {
	var others []string
	for _, peer := range b.Peers {
		if peer.Address != here.PeerAddress {
			others = append(others, peer.Address)
		}
	}
	if len(others) == 0 {
		return nil, errors.New("the cluster that is to be joined is not named: list its members")
	}
	if b.OpenToken {
		var addresses []string
		for _, peer := range b.Peers {
			addresses = append(addresses, peer.Address)
		}
		b.token = listToken(addresses)
	}
	return b.join(ctx, here, others, true)
}

// join has one of the servers let this machine in. With wait it tries until one does, or says for good that
// it won't.
func (b *bootstrap) join(ctx context.Context, here Identity, servers []string, wait bool) (*Cluster, error) {
	if b.token == (pki.Token{}) {
		return nil, errors.New("joining a cluster needs its token: give it with --token; 'ctlplane token create --master' on a master makes one")
	}
	var reported time.Time
	for {
		joined, err := b.tryServers(ctx, here, servers)
		if err == nil {
			return b.joined(here, joined)
		}
		var refusal *pki.JoinError
		if errors.As(err, &refusal) && refusal.Code != pki.JoinUnavailable {
			if refusal.Code == pki.JoinTokenRefused && b.OpenToken {
				return nil, fmt.Errorf("%w: %w", errOtherList, err)
			}
			return nil, err
		}
		if !wait && refusal == nil {
			return nil, errors.Join(errNobody, err)
		}
		if now := b.Now(); now.Sub(reported) >= progressInterval {
			reported = now
			b.Logger.Info("waiting for a master of the cluster", "asked", strings.Join(servers, ","), "last", err)
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		}
	}
}

// tryServers asks one after another. A refusal counts more than one that could not be reached.
func (b *bootstrap) tryServers(ctx context.Context, here Identity, servers []string) (*pki.Joined, error) {
	var last, refused error
	for _, server := range servers {
		joined, err := b.tryServer(ctx, here, server)
		if err == nil {
			return joined, nil
		}
		last = fmt.Errorf("%s: %w", server, err)
		var refusal *pki.JoinError
		if errors.As(err, &refusal) {
			refused = last
		}
		if ctx.Err() != nil {
			break
		}
	}
	if refused != nil {
		return nil, refused
	}
	if last == nil {
		last = errNobody
	}
	return nil, last
}

func (b *bootstrap) tryServer(ctx context.Context, here Identity, server string) (*pki.Joined, error) {
	address, err := withPort(server, DefaultPeerPort)
	if err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := b.dialJoin(dialing, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return pki.Join(ctx, conn, b.token, pki.RoleMaster, pki.JoinRequest{
		Name: here.Name, PeerAddress: here.PeerAddress, ClientAddress: here.ClientAddress, APIAddress: here.APIAddress,
	})
}

func (b *bootstrap) dialJoin(ctx context.Context, address string) (*tls.Conn, error) {
	network, _ := pki.PeerNetwork(address)
	var config *tls.Config
	if security := b.Member.PeerSecurity; security != nil {
		config = security.Client(pki.ProtocolJoin)
	}
	return pki.DialJoinWith(ctx, peers.Dialer(network, b.Member.CallFrom, nil), address, config)
}

// joined stores what the cluster granted, the identity last: without it the next start joins again.
func (b *bootstrap) joined(here Identity, joined *pki.Joined) (*Cluster, error) {
	if b.restored != nil {
		if err := b.restored.giveUpFor(joined.Answer.ClusterID, b.DataDir); err != nil {
			return nil, err
		}
	}
	if err := b.keep(joined.CA, joined.Secret); err != nil {
		return nil, err
	}
	if err := pki.WritePair(b.pki, "peer", joined.Cert, joined.Key); err != nil {
		return nil, err
	}
	here.ClusterID, here.MemberID = joined.Answer.ClusterID, joined.Answer.MemberID
	if !b.Existing {
		here.Founders = len(b.Peers)
	}
	b.Logger.Info("joined a cluster, and catching up", "name", here.Name, "cluster", fmt.Sprintf("%x", here.ClusterID))
	return b.open(&Cluster{CA: joined.CA, Secret: joined.Secret, Joined: true}, here)
}
