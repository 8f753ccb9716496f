package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	etcdversion "go.etcd.io/etcd/api/v3/version"

	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/master/etcdconfig"
	"github.com/ctlplane/ctlplane/raftstore"
)

func newEtcd() *cobra.Command {
	command := &cobra.Command{
		Use:   "etcd",
		Short: "Run the store alone, in place of the etcd binary",
		Long: `Run the store alone, in place of the etcd binary. It takes the flags, the ETCD_ variables, the configuration file and the
certificates that etcd v3.7 takes.

A setting that has no effect here is accepted with a warning that says why. To import an etcd's data, use 'ctlplane snapshot import',
or move a running etcd with 'ctlplane etcd migrate' (see 'ctlplane etcd migrate --help').`,
		GroupID: groupStore,
		// etcd takes -name as well as --name.
		DisableFlagParsing: true,
		RunE:               runEtcd,
	}
	command.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n\nUsage:\n  %s [flags]\n", cmd.Long, cmd.CommandPath())
		_ = etcdconfig.Usage(cmd.OutOrStdout())
	})
	return command
}

func runEtcd(cmd *cobra.Command, args []string) (err error) {
	if len(args) > 0 && args[0] == migrateVerb { // etcd itself takes flags alone
		return runMigrate(cmd, args[1:])
	}
	settings, err := etcdconfig.Parse(args, os.Environ())
	switch {
	case err != nil:
		return err
	case settings.Help:
		return cmd.Help()
	case settings.Version:
		fmt.Fprintf(cmd.OutOrStdout(), "etcd Version: %s\nctlplane Version: %s\nGo Version: %s\nGo OS/Arch: %s/%s\n",
			etcdversion.Version, version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return nil
	}
	logger, closeLogs, err := settings.Log.Open(cmd.OutOrStdout(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLogs()) }()
	config, err := settings.Master(cmd.Context(), logger)
	if err != nil {
		return err
	}
	config.Ready = tellReady(logger)
	return endAsEtcd(master.Run(cmd.Context(), config), config.DataDir, logger)
}

// tellReady tells, in the words that tests and scripts wait for, and systemd, that clients are served.
func tellReady(logger *slog.Logger) func(master.Ready) {
	return func(r master.Ready) {
		logger.Info("ready to serve client requests", "name", r.Name, "client", r.Client)
		if err := notifyReady(); err != nil {
			logger.Warn("systemd may take this service for one that does not start", "error", err)
		}
	}
}

// endAsEtcd has a member that was removed end as etcd's does: with these lines in the log, and as a success, so that it is not
// started again where failures are.
func endAsEtcd(err error, dataDir string, logger *slog.Logger) error {
	if !errors.Is(err, raftstore.ErrRemoved) {
		return err
	}
	logger.Warn("server error", "error", "the member has been permanently removed from the cluster")
	logger.Warn("data-dir used by this member must be removed", "data-dir", dataDir)
	return nil
}
