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
	var detach bool
	command := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster of real processes on this machine",
		Long: `Run a whole cluster of real processes on this machine, until it is interrupted, or with --detach until "dev stop".

Each master has an address of its own. Each node has a network namespace of its own. Other commands find the cluster
without flags. When the cluster ends, everything of it goes: processes, containers, interfaces, rules, data and logs.
The logs stay only if the cluster ended by a failure; the next start removes them.`,
		Example: `  ctlplane dev --masters 3 --nodes 2            # until Ctrl-C
  ctlplane dev --masters 3 --nodes 2 --detach   # returns when the cluster is ready
  ctlplane dev stop`,
		GroupID: groupCluster,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := startDev(cmd, masters, nodes, detach)
			if err != nil {
				return err
			}
			if detach {
				fmt.Fprintf(cmd.OutOrStdout(), "the cluster is ready. It runs until: %s dev stop\nkubectl: export KUBECONFIG=%s\n", sameProgram(cmd), cluster.Kubeconfig())
				return nil
			}
			fmt.Fprintf(cmd.OutOrStdout(), "the cluster is ready. In another terminal: %s get nodes\nkubectl: export KUBECONFIG=%s\n", sameProgram(cmd), cluster.Kubeconfig())
			return end(cluster, cluster.Wait(cmd.Context()))
		},
	}
	command.Flags().IntVar(&masters, "masters", 1, "how many masters")
	command.Flags().IntVar(&nodes, "nodes", 1, "how many nodes (they need root)")
	command.Flags().BoolVar(&detach, "detach", false, "return when the cluster is ready; it runs on until \"dev stop\"")
	command.AddCommand(newDevStop())
	return command
}

// end takes a cluster off the machine. Its logs stay if it failed.
func end(cluster *dev.Cluster, failure error) error {
	if failure != nil {
		return errors.Join(failure, cluster.Stop())
	}
	return cluster.Remove()
}

// sameProgram is how to call this program again so that it means the same cluster.
func sameProgram(cmd *cobra.Command) string {
	if given := cmd.Flags().Lookup("data-dir"); given != nil && given.Changed {
		return os.Args[0] + " --data-dir " + given.Value.String()
	}
	return os.Args[0]
}

func newDevStop() *cobra.Command {
	return &cobra.Command{
		Use:     "stop",
		Aliases: []string{"clean"},
		Short:   "End the cluster of `dev` or `demo` on this machine, and remove everything that it made",
		Long: `End the cluster of "dev" or "demo" on this machine, however it runs: detached, in another terminal, or what a killed
one left behind. Everything of it goes: processes, containers, interfaces, rules, data and logs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := ownDevDir(cmd)
			if err != nil {
				return err
			}
			found, err := dev.Clean(dir)
			if err != nil {
				return err
			}
			said := "the cluster is off this machine"
			if !found {
				said = "no cluster of `dev` is on this machine, in " + dir
			}
			fmt.Fprintln(cmd.OutOrStdout(), said)
			return nil
		},
	}
}

func newDemo() *cobra.Command {
	var keep bool
	command := &cobra.Command{
		Use:   "demo",
		Short: "Show a cluster that runs a workload, loses its leader and a node, and goes on",
		Long: `Start three masters and two nodes on this machine, run a web deployment on them, kill the leader, kill a node, scale,
and measure the writes. A short account says what happens and how long it takes. Nothing is left behind, unless --keep is given.`,
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
  %[1]s dev stop
`, sameProgram(cmd), cluster.Kubeconfig())
				return nil
			}
			if errors.Is(err, context.Canceled) {
				return errors.Join(errors.New("interrupted"), cluster.Remove())
			}
			return end(cluster, err)
		},
	}
	command.Flags().BoolVar(&keep, "keep", false, "leave the cluster up at the end, and say how to talk to it")
	return command
}

// ownDevDir is devDir by the one name that the processes of its cluster are known by.
func ownDevDir(cmd *cobra.Command) (string, error) {
	dir := dataDir(cmd)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return filepath.Abs(filepath.Join(dir, filepath.Base(devDir(cmd))))
}

func startDev(cmd *cobra.Command, masters, nodes int, detach bool) (*dev.Cluster, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := ownDevDir(cmd)
	if err != nil {
		return nil, err
	}
	if err := checkDataDir(dir); err != nil {
		return nil, err
	}
	cluster, err := dev.Start(cmd.Context(), dev.Options{
		Dir: dir, Binary: binary, Masters: masters, Nodes: nodes, Detach: detach, MasterFlags: quickLoops,
		Progress: func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) },
	})
	if errors.Is(err, dev.ErrRuns) {
		return nil, fmt.Errorf("a cluster runs on this machine already, in %[1]s: look at it with `%[2]s status`, or end it with `%[2]s dev stop`", dir, sameProgram(cmd))
	}
	return cluster, err
}
