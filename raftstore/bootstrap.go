package raftstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// BootstrapConfig is what a master is started with. Only DataDir is required. Addresses to listen on are
// host:port; an empty host is all of this machine's.
type BootstrapConfig struct {
	DataDir string
	Name    string // default: from Peers, or the host's name
	// Peers are all masters, the same list on each. The first one creates the cluster. With none, and no
	// Servers, a cluster of one is created.
	Peers []Peer
	// Servers are masters of a cluster that exists, to join as one more: peer or API addresses.
	Servers []string
	// Token is the masters' shared secret, or a created token for masters. Needed where there is a cluster
	// to join; made when a cluster is created without one.
	Token string
	// OpenToken says that Token is no secret, but made of what everybody may know who knows how the masters are
	// started. It is then not compared on a restart, and machines that were added with ReserveMember are let in
	// without it, if they can tell all members' addresses.
	OpenToken bool
	// Existing says that the cluster of Peers exists, and that this machine was added to it: it creates none.
	Existing bool

	PeerListen, ClientListen, APIListen string
	// PeerListenAlso are more addresses of the peer port; SharePort lets other processes have the ports, too.
	PeerListenAlso []string
	SharePort      bool
	// PeerURLs and ClientURLs are where this machine is reached, if not where it listens: the first of each
	// counts, the others are told to who asks. A member that was known by others keeps what they know of it. An
	// address of this machine is taken for a host that means all of them (0.0.0.0), with a warning.
	PeerURLs, ClientURLs []string
	// ClientInsecure says that the client port is in plain text, for those who are told where it is.
	ClientInsecure bool
	// LeafLife is how long the certificates live that this master issues; 0: pki.DefaultLeafLife.
	LeafLife time.Duration

	// Member is passed on to Open; Bootstrap fills in identity, directory, listener and certificates.
	Member Config
	Logger *slog.Logger
	Now    func() time.Time
}

// Cluster is a running master's part in its cluster.
type Cluster struct {
	Member *Member
	CA     *pki.CA
	// Secret lets further masters join.
	Secret pki.Token
	// Created is set when this call created the cluster, Joined when it joined one. Neither: a restart.
	Created, Joined bool
	forming         *forming
	// JoinServer serves the join protocol; on the API port, too, it is for the caller to use.
	JoinServer *pki.JoinServer
	// Peer is the member's certificate towards its peers, which is for the caller to keep renewed.
	Peer pki.Renewal
}

// PKIDir is where a master keeps certificates and keys.
func PKIDir(dataDir string) string { return filepath.Join(dataDir, "pki") }

const secretFile = "token"

// Bootstrap starts a master, whatever stage it is at: it restarts one that has a data directory, creates a
// cluster, or waits for one and joins it. ctx ends the waiting.
func Bootstrap(ctx context.Context, config BootstrapConfig) (_ *Cluster, err error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	lock, err := lockDir(config.DataDir)
	if err != nil {
		return nil, err
	}
	b := &bootstrap{BootstrapConfig: config, lock: lock, pki: PKIDir(config.DataDir)}
	defer func() {
		if b.lock != nil { // not taken over by a member
			err = errors.Join(err, b.lock.Close())
		}
	}()
	if config.Token != "" {
		if b.token, err = pki.ParseToken(config.Token); err != nil {
			return nil, err
		}
	}
	identity, known, err := LoadIdentity(config.DataDir)
	if err != nil {
		return nil, err
	}
	if known {
		return b.restart(identity)
	}
	return b.begin(ctx)
}

// bootstrap is one call of Bootstrap.
type bootstrap struct {
	BootstrapConfig
	lock  *os.File
	pki   string
	token pki.Token
	// restored is not nil for a directory that was restored from a backup and is no member's yet.
	restored *restoreNote
}

// restart starts the member that the data directory is of.
func (b *bootstrap) restart(identity Identity) (*Cluster, error) {
	if b.Name != "" && b.Name != identity.Name {
		return nil, fmt.Errorf("%w: %s is of member %q, not %q", ErrOtherCluster, b.DataDir, identity.Name, b.Name)
	}
	ca, err := pki.LoadCA(b.pki)
	if err != nil {
		return nil, fmt.Errorf("the cluster's CA: %w", err)
	}
	secret, err := b.loadSecret()
	if err != nil {
		return nil, err
	}
	if b.token != (pki.Token{}) && b.token.ID() == "" && b.token != secret && !b.OpenToken {
		return nil, fmt.Errorf("%w: the token is not its cluster's", ErrOtherCluster)
	}
	here, err := b.identify(identity.Name, identity.PeerAddress)
	if err != nil {
		return nil, err
	}
	if here.PeerAddress != identity.PeerAddress {
		return nil, fmt.Errorf("the other members know this one at %s, not at %s: start it with that address, or remove it with 'ctlplane member remove' and join again with an empty data directory",
			identity.PeerAddress, here.PeerAddress)
	}
	if len(here.PeerURLs) == 0 {
		here.PeerURLs = identity.PeerURLs
	}
	here.ClusterID, here.MemberID, here.Creator = identity.ClusterID, identity.MemberID, identity.Creator
	if here.Founders = identity.Founders; here.Founders > 0 && len(b.Peers) > 0 {
		here.Founders = len(b.Peers)
	}
	if b.Member.ForceNewCluster {
		here.Founders = 0
	}
	return b.open(&Cluster{CA: ca, Secret: secret}, here)
}

// begin decides how a fresh data directory begins.
func (b *bootstrap) begin(ctx context.Context) (*Cluster, error) {
	var err error
	if b.restored, err = loadRestoreNote(b.DataDir); err != nil {
		return nil, err
	}
	here, err := b.identify(b.Name, "")
	if err != nil {
		return nil, err
	}
	listener, err := b.listen() // now, rather than after others have counted on it
	if err != nil {
		return nil, err
	}
	_ = listener.Close()
	switch {
	case b.Existing:
		return b.joinExisting(ctx, here)
	case len(b.Servers) > 0:
		return b.join(ctx, here, b.Servers, true)
	case len(b.Peers) == 0:
		return b.create(here)
	}
	if b.token == (pki.Token{}) && len(b.Peers) > 1 {
		return nil, errors.New("masters that start together need a secret that they share: give all of them the same --token (at least 16 characters)")
	}
	var others []string
	first := b.Peers[0].Address == here.PeerAddress
	for _, peer := range b.Peers {
		if peer.Address != here.PeerAddress {
			others = append(others, peer.Address)
		}
	}
	if !first {
		return b.join(ctx, here, others, true)
	}
	// The others may be running already, and this machine may have lost its disk: a second cluster must not
	// be created beside theirs.
	cluster, err := b.join(ctx, here, others, false)
	if errors.Is(err, errNobody) {
		return b.create(here)
	}
	return cluster, err
}

// identify works out this machine's name and addresses. known is its peer address, where that is settled.
func (b *bootstrap) identify(name, known string) (Identity, error) {
	here := Identity{ClientInsecure: b.ClientInsecure}
	if len(b.Peers) > 0 {
		self, err := findSelf(b.Peers, name, b.PeerListen)
		if err != nil {
			return here, err
		}
		peer := b.Peers[self]
		here.PeerAddress = peer.Address
		if name == "" {
			name = peer.Name
		}
	}
	peerURLs, err := b.peerURLs()
	if err != nil {
		return here, err
	}
	if len(peerURLs) > 0 && (known == "" || known == membership.HostPort(peerURLs)) {
		here.PeerURLs, here.PeerAddress = peerURLs, membership.HostPort(peerURLs)
	}
	if b.PeerListen == "" {
		b.PeerListen = defaultListen(here.PeerAddress, known)
	}
	if here.PeerAddress == "" {
		here.PeerAddress = known
	}
	if here.PeerAddress == "" {
		host, err := outwardHost()
		if err != nil {
			return here, err
		}
		if here.PeerAddress, err = advertised(b.PeerListen, host); err != nil {
			return here, err
		}
	}
	host, err := pki.PeerHost(here.PeerAddress)
	if err != nil {
		return here, err
	}
	if here.ClientAddress, err = advertised(b.ClientListen, host); err != nil {
		return here, err
	}
	clientURLs, err := b.clientURLs(host)
	if err != nil {
		return here, err
	}
	if len(clientURLs) > 0 {
		here.ClientURLs, here.ClientAddress = clientURLs, membership.HostPort(clientURLs)
	}
	if here.APIAddress, err = advertised(b.APIListen, host); err != nil {
		return here, err
	}
	if here.Name = name; name == "" {
		here.Name = hostName()
	}
	return here, pki.ValidateMemberName(here.Name)
}

// defaultListen listens on all of the machine's addresses, or on loopback alone where that is the address
// that was settled on.
func defaultListen(settled, known string) string {
	if settled == "" {
		settled = known
	}
	if network, _ := pki.PeerNetwork(settled); network == "unix" {
		return settled
	}
	host, port, err := net.SplitHostPort(settled)
	if err != nil {
		return ":" + DefaultPeerPort
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return settled
	}
	return ":" + port
}

// hostName is this machine's name, as far as it will do for a member's.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || pki.ValidateName(strings.ToLower(name)) != nil {
		return "master"
	}
	return strings.ToLower(name)
}

// create makes a cluster of this machine alone, which others may join.
func (b *bootstrap) create(here Identity) (*Cluster, error) {
	if b.token == (pki.Token{}) {
		var err error
		if b.token, err = pki.ParseToken(pki.NewSecret()); err != nil {
			return nil, err
		}
	}
	if b.token.ID() != "" {
		return nil, errors.New("the token is of a cluster that exists, and none of its masters answers: to create another cluster, start without --token, or with a secret of your own")
	}
	ca, err := b.caOfInterruptedCreate(here.Name)
	if err != nil {
		return nil, err
	}
	here.ClusterID, here.MemberID, here.Creator = newID(), newID(), true
	// What was made of a running etcd has clients that wait for it, while the others would have to get all the data first.
	if migrated, _ := LoadMigrated(b.DataDir); migrated == nil && len(b.Peers) > 1 {
		here.Founders = len(b.Peers)
	}
	if b.restored != nil {
		here.ClusterID = b.restored.ClusterID
	}
	if err := b.keep(ca, b.token); err != nil {
		return nil, err
	}
	b.Logger.Info("creating a cluster", "name", here.Name, "cluster", fmt.Sprintf("%x", here.ClusterID))
	return b.open(&Cluster{CA: ca, Secret: b.token, Created: true}, here)
}

// caOfInterruptedCreate makes the CA, or takes that of a start which ended before there was a cluster.
func (b *bootstrap) caOfInterruptedCreate(name string) (*pki.CA, error) {
	ca, err := pki.LoadCA(b.pki)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !ca.CanSign()) {
		return pki.NewCA(name, b.Now())
	}
	return ca, err
}

// keep stores what every master holds.
func (b *bootstrap) keep(ca *pki.CA, secret pki.Token) error {
	if err := ca.Save(b.pki); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(b.pki, secretFile), []byte(secret.Reveal()+"\n"))
}

func (b *bootstrap) loadSecret() (pki.Token, error) {
	path := filepath.Join(b.pki, secretFile)
	content, err := os.ReadFile(path)
	if err != nil {
		return pki.Token{}, fmt.Errorf("the masters' secret: %w", err)
	}
	secret, err := pki.ParseToken(string(content))
	if err != nil {
		return pki.Token{}, fmt.Errorf("%s: %w", path, err)
	}
	return secret, nil
}

// listen opens the peer port.
func (b *bootstrap) listen() (net.Listener, error) {
	listen := Listen
	if b.SharePort {
		listen = ListenShared
	}
	return listenAll(append([]string{b.PeerListen}, b.PeerListenAlso...), listen)
}

// open starts the member, whose join server lets others in.
func (b *bootstrap) open(cluster *Cluster, identity Identity) (*Cluster, error) {
	host, err := pki.PeerHost(identity.PeerAddress)
	if err != nil {
		return nil, err
	}
	if b.LeafLife != 0 {
		cluster.CA = cluster.CA.WithLeafLife(b.LeafLife)
	}
	leaf := pki.PeerLeaf(identity.Name, host)
	source, err := cluster.CA.EnsureLeaf(b.pki, "peer", leaf, b.Now())
	if err != nil {
		return nil, err
	}
	cluster.Peer = cluster.CA.Renewal("peer", b.pki, "peer", leaf, source)
	listener, err := b.listen()
	if err != nil {
		return nil, err
	}
	admitted := &admission{clusterID: identity.ClusterID, open: b.OpenToken}
	cluster.JoinServer = pki.NewJoinServer(cluster.CA, cluster.Secret, admitted, admitted, b.Logger, b.Now)

	config := b.Member
	config.Identity, config.DataDir, config.Listener = identity, b.DataDir, listener
	config.Source, config.CA = source, cluster.CA
	config.Logger = b.Logger
	config.lock, b.lock = b.lock, nil
	life, end := context.WithCancel(context.Background())
	config.Join = func(conn *tls.Conn) { cluster.JoinServer.Serve(life, conn) }
	if cluster.Member, err = Open(config); err != nil {
		end()
		return nil, err
	}
	context.AfterFunc(cluster.Member.life, end)
	admitted.member.Store(cluster.Member)
	cluster.forming = newForming(cluster.Member)
	return cluster, nil
}
