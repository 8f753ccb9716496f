package network

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
)

// Remove takes the whole pod network of this machine away: pods' links, bridge, tunnel, routes, rules and
// the addresses remembered in dir. It needs no running Network, and removing twice is no error.
func Remove(dir string) error {
	var failed []error
	if leases, err := openAddresses(filepath.Join(dir, "addresses")); err == nil {
		for _, id := range leases.owners() {
			failed = append(failed, disconnect(id))
		}
	}
	routes, err := ownRoutes()
	failed = append(failed, err)
	for _, route := range routes {
		failed = append(failed, unlessGone(netlink.RouteDel(&route)))
	}
	for _, name := range []string{tunnelName, bridgeName} {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkDel(link)
		}
		failed = append(failed, unlessGone(err))
	}
	return errors.Join(append(failed, removeMasquerade(), removeHostPorts(context.Background()), os.RemoveAll(dir))...)
}
