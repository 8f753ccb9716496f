package etcdconfig

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
)

// cluster is who begins or joins what.
type cluster struct {
	// peers are all members, by name: whatever the order in which each member has them, the first is the same on all.
	// None for a cluster of one.
	peers    []raftstore.Peer
	self     URLs // this member's peer URLs; none: where it listens
	existing bool
	// token is what the members share. open says that it is no secret.
	token string
	open  bool
}

// findCluster makes a cluster of the flags of a member whose data directory is fresh, and of what it finds out about others.
func (s *Settings) findCluster(ctx context.Context, logger *slog.Logger) (cluster, error) {
	switch {
	case s.Discovery.Domain != "":
		return s.findBySRV(ctx, logger)
	case len(s.Discovery.Endpoints) > 0:
		list, err := s.findByService(ctx, logger)
		if err != nil {
			return cluster{}, err
		}
		s.InitialCluster, s.ClusterToken = list, s.Discovery.Token
	}
	return s.readCluster()
}

// readCluster makes a cluster of a list of its members.
func (s *Settings) readCluster() (cluster, error) {
	c := cluster{existing: s.ClusterState == "existing"}
	if s.given["initial-advertise-peer-urls"] {
		c.self = s.AdvertisePeer
	}
	members, err := parseCluster(s.InitialCluster)
	if err != nil {
		return c, err
	}
	if len(members) == 0 && c.existing {
		return c, fmt.Errorf("--initial-cluster is needed with --initial-cluster-state existing: list all members and this one, as 'member add' printed them")
	}
	if len(members) > 0 {
		if c.self, err = s.findSelf(members, c.self); err != nil {
			return c, err
		}
	}
	if len(members) > 1 {
		for _, name := range sortedKeys(members) {
			c.peers = append(c.peers, raftstore.Peer{Name: name, Address: peerAddress(members[name][0])})
		}
		slices.SortFunc(c.peers, func(a, b raftstore.Peer) int { return cmp.Compare(a.Name, b.Name) })
	}
	c.token, c.open = s.sharedToken(members)
	return c, nil
}

// parseCluster reads name=url,name=url; a name with several URLs is there several times.
func parseCluster(text string) (map[string]URLs, error) {
	members := map[string]URLs{}
	for _, entry := range splitList(text) {
		name, address, found := strings.Cut(entry, "=")
		if !found || name == "" {
			return nil, fmt.Errorf("--initial-cluster: %q is not name=url", entry)
		}
		urls, err := ParseURLs(address)
		if err != nil {
			return nil, fmt.Errorf("--initial-cluster: %w", err)
		}
		if len(urls) == 0 {
			return nil, fmt.Errorf("--initial-cluster: member %q has no URL", name)
		}
		members[name] = append(members[name], urls...)
	}
	if len(members) > 1 {
		for _, name := range sortedKeys(members) {
			if i := slices.IndexFunc(members[name], everywhere); i >= 0 {
				return nil, fmt.Errorf("--initial-cluster: member %q can't be reached by others at %s: name an address of its machine", name, members[name][i].String())
			}
		}
	}
	var all URLs
	for _, urls := range members {
		all = append(all, urls...)
	}
	if all.mixed() {
		return nil, fmt.Errorf("--initial-cluster: URLs are partly with TLS and partly without (%s): members need https (or unixs) for all, or http (or unix) for all", text)
	}
	taken := map[string]string{}
	for _, name := range sortedKeys(members) {
		for _, u := range members[name] {
			if other, twice := taken[peerAddress(u)]; twice && other != name {
				return nil, fmt.Errorf("--initial-cluster: %s is both %q's and %q's", u.String(), other, name)
			}
			taken[peerAddress(u)] = name
		}
	}
	return members, nil
}

// findSelf is where the list says that this member is reached; it must be what --initial-advertise-peer-urls says, if
// that was given.
func (s *Settings) findSelf(members map[string]URLs, advertised URLs) (URLs, error) {
	listed, found := members[s.Name]
	if !found {
		return nil, fmt.Errorf("--initial-cluster does not list this member, %q: add %s=%s, or give its name with --name", s.Name, s.Name, s.AdvertisePeer)
	}
	if advertised == nil {
		return listed, nil
	}
	// As in etcd, a machine that joins has told the cluster before where it is.
	if s.ClusterState != "existing" && !sameAddresses(listed, advertised) {
		return nil, fmt.Errorf("--initial-cluster says that %q is at %s, and --initial-advertise-peer-urls says %s: make them the same", s.Name, listed, advertised)
	}
	return listed, nil
}

// resolvePatience bounds the search for the addresses of the hosts in URLs.
const resolvePatience = 10 * time.Second

// sameAddresses tells whether two lists mean the same addresses: by their text, or else by what their hosts' names stand for.
func sameAddresses(a, b URLs) bool {
	if len(a) != len(b) {
		return false
	}
	if !slices.ContainsFunc(a, func(u url.URL) bool { return !slices.Contains(b, u) }) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolvePatience)
	defer cancel()
	resolvedA, errA := resolve(ctx, a)
	resolvedB, errB := resolve(ctx, b)
	return errA == nil && errB == nil && slices.Equal(resolvedA, resolvedB)
}

// resolve has addresses instead of names, in order.
func resolve(ctx context.Context, urls URLs) ([]string, error) {
	var resolved []string
	for _, u := range urls {
		if network, _ := listenAddress(u); network == "tcp" {
			addresses, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
			if err != nil {
				return nil, err
			}
			u.Host = net.JoinHostPort(slices.Min(addresses), u.Port())
		}
		resolved = append(resolved, u.String())
	}
	slices.Sort(resolved)
	return resolved, nil
}

// sharedToken is what proves that a machine belongs to the cluster. etcd's token is a name and may be short: then what
// proves it is that token and the list of members together, which whoever configures the cluster knows.
func (s *Settings) sharedToken(members map[string]URLs) (token string, open bool) {
	if len(s.ClusterToken) >= pki.MinSecret {
		return s.ClusterToken, false
	}
	if len(members) < 2 {
		return "", true // a cluster of one makes a secret of its own
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%q\n", s.ClusterToken)
	for _, name := range sortedKeys(members) {
		addresses := members[name].texts()
		slices.Sort(addresses)
		fmt.Fprintf(hash, "%q %q\n", name, addresses)
	}
	return hex.EncodeToString(hash.Sum(nil)), true
}
