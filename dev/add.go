package dev

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// AddMaster starts one more master, which joins those that run. The cluster must have addresses of its own: see Start.
func (c *Cluster) AddMaster() (*Master, error) {
	if c.segment == nil {
		return nil, errors.New("masters are added only where each has a host of its own: run as root")
	}
	i := len(c.Masters)
	if err := c.segment.addMaster(i); err != nil {
		return nil, err
	}
	host := c.segment.master(i).String()
	own := address{host + ":2380", host + ":2379", host + ":6443"}
	name := fmt.Sprintf("m%d", i+1)
	m := &Master{DataDir: filepath.Join(c.opts.Dir, name)}
	var peers []string
	for _, other := range c.Masters {
		if other.Running() {
			peers = append(peers, strings.TrimPrefix(strings.TrimSuffix(other.Access.Server, ":6443"), "https://"))
		}
	}
	peers = append(peers, name+"="+own.peer)
	m.args = append([]string{"init", "--name", name, "--data-dir", m.DataDir, "--token-file", c.token, "--peers", strings.Join(peers, ",")}, own.flags()...)
	m.args = append(m.args, c.opts.MasterFlags...)
	c.Masters = append(c.Masters, m)
	if err := c.StartMaster(m); err != nil {
		return nil, err
	}
	access, err := m.awaitAccess(c.ctx, []string{own.client})
	access.Endpoints = append(slices.Clone(c.Masters[0].Access.Endpoints), own.client)
	for _, each := range c.Masters {
		each.Access.Endpoints = access.Endpoints
	}
	m.Access = access
	return m, err
}
