package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ctlplane/ctlplane/bench"
	"github.com/ctlplane/ctlplane/bench/cluster"
)

// benchMembers is how many members a cluster of the benchmark's own has.
const benchMembers = 3

// newBench is `ctlplane bench`: without --endpoints it measures three members of its own.
func newBench() *cobra.Command {
	command := bench.NewCommand(func(etcd string) (bench.Own, error) {
		binary, err := os.Executable()
		if err != nil {
			return nil, err
		}
		system := cluster.Ctlplane(binary)
		if etcd != "" {
			system = cluster.Etcd(etcd)
		}
		dir, err := os.MkdirTemp(cluster.DefaultDir, "ctlplane-bench-")
		if err != nil {
			return nil, err
		}
		return cluster.Start(system, dir, benchMembers)
	})
	command.GroupID = groupStore
	return command
}
