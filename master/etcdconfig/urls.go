package etcdconfig

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/ctlplane/ctlplane/pki"
)

// URLs are addresses, as a list separated by commas has them.
type URLs []url.URL

// ParseURLs reads a list of URLs by etcd's rules: http or https with a host and a port, or unix or unixs with a path.
func ParseURLs(list string) (URLs, error) {
	var urls URLs
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		u, err := parseURL(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(urls, *u) {
			urls = append(urls, *u)
		}
	}
	return urls, nil
}

func parseURL(text string) (*url.URL, error) {
	wrong := func(why string) error {
		return fmt.Errorf("%q %s: write a URL such as http://10.0.0.1:2379, https://host.example:2379 or unix:///run/etcd.sock", text, why)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, wrong("is no URL")
	}
	switch u.Scheme {
	case "http", "https":
		if _, _, err := net.SplitHostPort(u.Host); err != nil || u.Port() == "" {
			return nil, wrong("has no port")
		}
		if u.Path != "" || u.RawQuery != "" || u.User != nil {
			return nil, wrong("has more than a host and a port")
		}
	case "unix", "unixs":
		if u.Host+u.Path == "" {
			return nil, wrong("has no path")
		}
		if u.RawQuery != "" || u.User != nil {
			return nil, wrong("has more than a path")
		}
	default:
		return nil, wrong("begins neither with http:// nor with https://")
	}
	return u, nil
}

func (us URLs) String() string { return strings.Join(us.texts(), ",") }

func (us URLs) texts() []string {
	var texts []string
	for _, u := range us {
		texts = append(texts, u.String())
	}
	return texts
}

// anySecure tells whether one of them is served over TLS.
func (us URLs) anySecure() bool { return slices.ContainsFunc(us, secure) }

// mixed tells whether some are served over TLS and some in plain text.
func (us URLs) mixed() bool {
	return us.anySecure() && slices.ContainsFunc(us, func(u url.URL) bool { return !secure(u) })
}

func secure(u url.URL) bool { return u.Scheme == "https" || u.Scheme == "unixs" }

// listenAddress is where a URL is served: the network and the address on it.
func listenAddress(u url.URL) (network, address string) {
	if u.Scheme == "unix" || u.Scheme == "unixs" {
		return "unix", u.Host + u.Path
	}
	return "tcp", u.Host
}

// peerAddress is where a peer URL is served and called, as the members have it.
func peerAddress(u url.URL) string {
	network, address := listenAddress(u)
	if network == "unix" {
		return pki.SocketAddress(address)
	}
	return address
}

// sameListener tells whether two URLs are served on the same address, whatever is spoken there.
func sameListener(a, b url.URL) bool {
	networkA, addressA := listenAddress(a)
	networkB, addressB := listenAddress(b)
	return networkA == networkB && addressA == addressB
}

// everywhere tells whether a URL is of all of the machine's addresses, so that nobody can be told to call it.
func everywhere(u url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return (u.Scheme == "http" || u.Scheme == "https") && (u.Hostname() == "" || ip != nil && ip.IsUnspecified())
}
