package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ctlplane/ctlplane/dev"
)

// quickLoops make a local cluster notice a dead node in seconds: on one machine a late heartbeat means a
// dead process, not a slow network.
var quickLoops = []string{"--node-monitor-grace", "4s", "--pod-eviction-after", "2s"}

func newDev() *cobra.Command {
	var masters, nodes int
	command := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster of real processes on this machine",
		Long: `Run a whole cluster of real processes on this machine, until interrupted.

Each master has an address of its own, each node a network namespace of its own. Everything goes with the cluster:
processes, containers, interfaces, rules and data. The CLI finds the cluster without flags.`,
		GroupID: groupCluster,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := startDev(cmd, masters, nodes, false)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "the cluster is ready. In another terminal: ctlplane get nodes\nkubectl: export KUBECONFIG=%s\n", cluster.Kubeconfig())
			return errors.Join(cluster.Wait(cmd.Context()), cluster.Stop())
		},
	}
	command.Flags().IntVar(&masters, "masters", 1, "how many masters")
	command.Flags().IntVar(&nodes, "nodes", 1, "how many nodes (they need root)")
	command.AddCommand(newDevClean())
	return command
}

func newDevClean() *cobra.Command {
	return &cobra.Command{
		Use:   "clean",
		Short: "Take away the cluster that a detached or killed `dev` or `demo` left on this machine",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return dev.Clean(devDir(cmd)) },
	}
}

func newDemo() *cobra.Command {
	var keep bool
	command := &cobra.Command{
		Use:   "demo",
		Short: "Show a cluster of three masters and two nodes run a workload, lose its leader and a node, and go on",
		Long: `Start three masters and two nodes on this machine, run a web deployment on them, kill the leader, kill a node, scale,
and measure the writes, with a short account of what happens and how long it takes. Leaves nothing behind, unless told to.`,
		GroupID: groupCluster,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := startDev(cmd, 3, 2, keep)
			if err != nil {
				return err
			}
			err = dev.Demo(cmd.Context(), cluster, cmd.OutOrStdout())
			if keep && err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), `
The cluster stays up. Talk to it:
  %[1]s get pods -o wide
  %[1]s status
  kubectl --kubeconfig %[2]s get nodes
Take it away:
  %[1]s dev clean
`, os.Args[0], cluster.Kubeconfig())
				return nil
			}
			if errors.Is(err, context.Canceled) {
				err = errors.New("interrupted")
			}
			return errors.Join(err, cluster.Stop())
		},
	}
	command.Flags().BoolVar(&keep, "keep", false, "leave the cluster up at the end, and say how to talk to it")
	return command
}

func startDev(cmd *cobra.Command, masters, nodes int, detach bool) (*dev.Cluster, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(devDir(cmd))
	if err != nil {
		return nil, err
	}
	return dev.Start(cmd.Context(), dev.Options{
		Dir: dir, Binary: binary, Masters: masters, Nodes: nodes, Detach: detach, MasterFlags: quickLoops,
		Progress: func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) },
	})
}
