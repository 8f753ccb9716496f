// Command ctlplane is a whole cluster in one binary: masters, nodes and the tools to talk to them.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/grpclog"

	"github.com/ctlplane/ctlplane/agent/demo"
)

// version is set by the build.
var version = "unknown"

func main() {
	if len(os.Args) == 2 && os.Args[1] == demo.Command {
		os.Exit(demo.Main()) // inside a container of the built-in image
	}
	// gRPC logs what strangers send it as errors of its own; what matters comes back to us as an error.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const (
	groupCluster = "cluster"
	groupStore   = "store"
	groupObjects = "objects"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "ctlplane",
		Short: "A whole cluster in one binary",
		Long: `ctlplane is a whole cluster in one binary. Its masters replicate a key-value store by Raft and speak etcd's API. On the store run
a Kubernetes API server, a scheduler, controllers and nodes.

  ctlplane dev                                    run a cluster of real processes on this machine
  ctlplane init --peers a,b,c --token-file T      run this machine's master, one of three
  ctlplane join a --token-file N                  run this machine as a node
  ctlplane get nodes                              use kubectl's commands without a configuration`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddGroup(
		&cobra.Group{ID: groupCluster, Title: "The cluster and its machines:"},
		&cobra.Group{ID: groupStore, Title: "The key-value store:"},
		&cobra.Group{ID: groupObjects, Title: "Objects, as kubectl has them:"},
	)
	root.PersistentFlags().String("data-dir", "", "where this machine keeps its state (default "+defaultDataDir()+")")
	root.AddCommand(newInit(), newJoin(), newLeave(), newEtcd(), newDev(), newDemo(), newStatus(), newToken(), newCert(), newImage(), newBench(), newKV(), newSnapshot(), newVersion())
	addKubectl(root)
	addStoreVerbs(root)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, command := range root.Commands() { // cobra looks at root's own words
		refuseUnknown(command)
	}
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		GroupID: groupCluster,
		Args:    cobra.NoArgs,
		Run:     func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "ctlplane", version) },
	}
}
