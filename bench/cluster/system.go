// Package cluster runs clusters of server processes on loopback, to be measured: ctlplane's and etcd's alike. Their
// members can be killed and started again, and looked at: memory, disk.
package cluster

import (
	"path/filepath"
	"strings"
)

// System is a kind of server, and how a member of it is started.
type System struct {
	Name   string
	Binary string
	// args is the command line of m, one of all.
	args func(m member, all []member) []string
}

// member is who one process is.
type member struct {
	name         string
	dir          string
	client, peer string // addresses, host:port
}

// token is what ctlplane's members know each other by. It guards nothing: it lives as long as the cluster does.
const token = "a-secret-for-the-benchmark-alone"

// Etcd is etcd, as the binary runs it. flags are added to the command line of each member.
func Etcd(binary string, flags ...string) System {
	return System{Name: "etcd", Binary: binary, args: func(m member, all []member) []string {
		return append(append(etcdFlags(m, all), "--log-level", "error"), flags...)
	}}
}

// Ctlplane is the store of ctlplane: `ctlplane etcd`. flags are added to the command line of each member.
func Ctlplane(binary string, flags ...string) System {
	return System{Name: "ctlplane", Binary: binary, args: func(m member, all []member) []string {
		return append(append([]string{"etcd", "--initial-cluster-token", token, "--log-level", "error"}, etcdFlags(m, all)...), flags...)
	}}
}

// etcdFlags are those that both take.
func etcdFlags(m member, all []member) []string {
	var cluster []string
	for _, a := range all {
		cluster = append(cluster, a.name+"=http://"+a.peer)
	}
	return []string{
		"--name", m.name, "--data-dir", filepath.Join(m.dir, "data"),
		"--listen-client-urls", "http://" + m.client, "--advertise-client-urls", "http://" + m.client,
		"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", "http://" + m.peer,
		"--initial-cluster", strings.Join(cluster, ","),
	}
}
