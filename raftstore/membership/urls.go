package membership

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/failure"
)

// URLs are those of an address, none of an empty one.
func URLs(scheme, address string) []string {
	if address == "" {
		return nil
	}
	if network, _ := pki.PeerNetwork(address); network == "unix" {
		return []string{address}
	}
	return []string{scheme + "://" + address}
}

// HostPort is the reverse of URLs.
func HostPort(urls []string) string {
	if len(urls) == 0 {
		return ""
	}
	scheme, address, _ := strings.Cut(urls[0], "://")
	if scheme == "unix" || scheme == "unixs" {
		return pki.SocketAddress(address)
	}
	return address
}

// ValidatePeerURLs holds etcd's rules for URLs, as far as they make sense for peers: host and port, or the path of a socket, nothing
// else.
func ValidatePeerURLs(urls []string) error {
	for _, text := range urls {
		u, err := url.Parse(text)
		if err == nil && (u.Scheme == "unix" || u.Scheme == "unixs") && u.Host+u.Path != "" {
			continue
		}
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.Port() == "" || u.Path != "" {
			return fmt.Errorf("%w: %q is not", failure.ErrBadPeerURLs, text)
		}
	}
	if len(urls) == 0 {
		return failure.ErrBadPeerURLs
	}
	return nil
}

// URLTaken tells whether a member other than except has one of the addresses. How the address is to be spoken to makes no
// difference: between members there is always TLS.
func URLTaken(records []kv.Member, except uint64, urls []string) bool {
	wanted := HostPorts(urls)
	for _, record := range records {
		if record.ID == except {
			continue
		}
		for _, have := range HostPorts(record.PeerURLs) {
			if slices.Contains(wanted, have) {
				return true
			}
		}
	}
	return false
}

// HostPorts are the addresses of URLs.
func HostPorts(urls []string) []string {
	addresses := make([]string, len(urls))
	for i := range urls {
		addresses[i] = HostPort(urls[i : i+1])
	}
	return addresses
}

// SameRecord tells whether two records of a member say the same.
func SameRecord(a, b kv.Member) bool {
	return a.Name == b.Name && a.IsLearner == b.IsLearner && a.Rules == b.Rules && slices.Equal(a.PeerURLs, b.PeerURLs) &&
		slices.Equal(a.ClientURLs, b.ClientURLs) && slices.Equal(a.APIURLs, b.APIURLs)
}
