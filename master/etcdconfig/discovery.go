package etcdconfig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ctlplane/ctlplane/raftstore"
)

// Discovery is how the members of a cluster find each other that are not listed.
type Discovery struct {
	// Domain is where DNS is asked for the members, Service a suffix of the names that are asked for.
	Domain, Service string
	// Endpoints are of another etcd, where the members meet under Token.
	Endpoints                       []string
	Token                           string
	DialTimeout, RequestTimeout     time.Duration
	KeepaliveTime, KeepaliveTimeout time.Duration
	Plain, SkipVerify               bool
	CertFile, KeyFile, CAFile       string
	User, Password                  string
}

func (d Discovery) validate(s *Settings) error {
	ways := 0
	for _, given := range []bool{s.given["initial-cluster"], d.Domain != "", len(d.Endpoints) > 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("the members are found in more than one way: choose one of --initial-cluster, --discovery-srv and --discovery-endpoints")
	case (d.Token != "") != (len(d.Endpoints) > 0):
		return errors.New("--discovery-token and --discovery-endpoints go together: give both")
	case len(d.Endpoints) > 0 && s.ClusterState == "existing":
		return errors.New("--discovery-endpoints are for members that begin a cluster: list those of one that exists with --initial-cluster")
	case s.fallback == "proxy" && !s.byFile:
		return errors.New("--discovery-fallback proxy: there is no proxy to fall back to, as in etcd: choose exit")
	case d.Domain == "" && d.Service != "":
		return errors.New("--discovery-srv-name goes with --discovery-srv: give the domain, too")
	}
	if s.fallback == "proxy" {
		s.warn("--discovery-fallback has no effect in a file, as in etcd: there is no proxy to fall back to")
	}
	return nil
}

// The services that members are found by in DNS, each with what is spoken there.
var srvServices = []struct{ service, scheme string }{{"etcd-server-ssl", "https"}, {"etcd-server", "http"}}

// findBySRV makes a cluster of what DNS answers. Nobody's name is in there: the members know each other by their addresses.
func (s *Settings) findBySRV(ctx context.Context, logger *slog.Logger) (cluster, error) {
	c := cluster{existing: s.ClusterState == "existing"}
	suffix := ""
	if s.Discovery.Service != "" {
		suffix = "-" + s.Discovery.Service
	}
	own, err := s.ownAddresses(ctx)
	if err != nil {
		return c, err
	}
	members := map[string]URLs{}
	var failed error
	for _, asked := range srvServices {
		_, records, err := s.resolver.LookupSRV(ctx, asked.service+suffix, "tcp", s.Discovery.Domain)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		for _, record := range records {
			port := strconv.Itoa(int(record.Port))
			address := net.JoinHostPort(strings.TrimSuffix(record.Target, "."), port)
			urls, err := ParseURLs(asked.scheme + "://" + address)
			if err != nil {
				return c, fmt.Errorf("--discovery-srv %s: %w", s.Discovery.Domain, err)
			}
			members[address] = append(members[address], urls...)
			hosts, err := s.resolver.LookupHost(ctx, record.Target)
			if err != nil {
				logger.Warn("a member that DNS names has no address", "member", address, "error", err)
			}
			if slices.ContainsFunc(hosts, func(host string) bool { return slices.Contains(own, net.JoinHostPort(host, port)) }) {
				if scheme := s.AdvertisePeer[0].Scheme; scheme != asked.scheme {
					return c, fmt.Errorf("--discovery-srv %s names this member at %s, and --initial-advertise-peer-urls says %s: make them the same", s.Discovery.Domain, urls.String(), s.AdvertisePeer.String())
				}
				c.self = append(c.self, urls...)
			}
		}
	}
	switch {
	case len(members) == 0:
		return c, fmt.Errorf("--discovery-srv %s: no members are found: %w", s.Discovery.Domain, errors.Join(failed, errors.New("there must be records _etcd-server._tcp or _etcd-server-ssl._tcp")))
	case len(c.self) == 0:
		return c, fmt.Errorf("--discovery-srv %s does not name this member: none of %v is --initial-advertise-peer-urls %s", s.Discovery.Domain, sortedKeys(members), s.AdvertisePeer.String())
	}
	logger.Info("found the members by DNS", "members", sortedKeys(members))
	for _, address := range sortedKeys(members) {
		peer := raftstore.Peer{Address: address}
		if address == c.self[0].Host {
			peer.Name = s.Name
		}
		c.peers = append(c.peers, peer)
	}
	slices.SortFunc(c.peers, func(a, b raftstore.Peer) int { return cmp.Compare(a.Address, b.Address) })
	c.token, c.open = s.sharedToken(members)
	if len(c.peers) == 1 {
		c.peers = nil
	}
	return c, nil
}

// ownAddresses are what this member's peer URLs stand for.
func (s *Settings) ownAddresses(ctx context.Context) ([]string, error) {
	var own []string
	for _, u := range s.AdvertisePeer {
		hosts, err := s.resolver.LookupHost(ctx, u.Hostname())
		if err != nil {
			return nil, fmt.Errorf("--initial-advertise-peer-urls: %w", err)
		}
		for _, host := range hosts {
			own = append(own, net.JoinHostPort(host, u.Port()))
		}
	}
	return own, nil
}
