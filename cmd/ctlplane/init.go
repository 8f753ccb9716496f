package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"github.com/ctlplane/ctlplane/logging"
	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
)

// masterFlags are the flags of a command that runs a master.
type masterFlags struct {
	config      master.Config
	token       tokenFlags
	log         logFlags
	peers       []string
	clusterCIDR string
	serviceCIDR string
}

func newInit() *cobra.Command {
	var f masterFlags
	command := &cobra.Command{
		Use:   "init",
		Short: "Boot or restart this machine's master, in the foreground",
		Long: `Boot or restart this machine's master, in the foreground.

Without --peers the master is a cluster of one, which others can join later. With --peers, start every master with the same list and
the same token: the first of the list creates the cluster, the others wait for it and join. To restart a master, give the same
command again. A master that lost its data directory comes back by the same command, as a new member.`,
		Example: `  ctlplane init
  ctlplane init --peers 10.0.0.1,10.0.0.2,10.0.0.3 --token-file /etc/ctlplane/token
  ctlplane init --name m2 --peers m1=10.0.0.1,m2=10.0.0.2,m3=10.0.0.3 --token-file /etc/ctlplane/token`,
		GroupID: groupCluster,
		Args:    cobra.NoArgs,
		RunE:    f.run,
	}
	flags := command.Flags()
	flags.StringSliceVar(&f.peers, "peers", nil, "all masters, each [name=]host[:port], in the same order on each of them")
	f.addCommon(command)
	return command
}

// addCommon adds the flags of every master, however it comes to its cluster.
func (f *masterFlags) addCommon(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.config.Name, "name", "", "this machine's name in the cluster (default: its name in --peers, or the host's)")
	flags.StringVar(&f.config.PeerAddr, "peer-addr", "", "host:port for the other masters (default: this machine's address, port 2380)")
	flags.StringVar(&f.config.ClientAddr, "client-addr", "", "host:port for clients of the store (default: the peer address's host, port 2379)")
	flags.StringVar(&f.config.APIAddr, "api-addr", "", "host:port for the Kubernetes API (default: the peer address's host, port 6443)")
	flags.BoolVar(&f.config.KVInsecure, "kv-insecure", false, "serve the client port in plain text, for benchmarks; everybody who reaches it may read and write everything")
	flags.StringVar(&f.config.LogStore, "log-store", "", "where the Raft log is kept: wal or boltdb (default wal)")
	flags.DurationVar(&f.config.NodeMonitorGrace, "node-monitor-grace", 40*time.Second, "how long a node may be silent before it is not ready")
	flags.DurationVar(&f.config.PodEvictionAfter, "pod-eviction-after", 5*time.Minute, "how long a node may be not ready before its pods are replaced")
	flags.StringVar(&f.clusterCIDR, "cluster-cidr", "", "the pods' addresses, of which each node gets its part (default: the cluster's; of a new one 10.48.0.0/12)")
	flags.IntVar(&f.config.NodeRangeBits, "node-cidr-mask-size", 0, "the prefix length of a node's part of them (default: the cluster's; of a new one 25, 125 pods a node)")
	flags.StringVar(&f.serviceCIDR, "service-cidr", "10.43.0.0/16", "the services' addresses")
	flags.DurationVar(&f.config.CertLifetime, "cert-lifetime", pki.DefaultLeafLife, "how long certificates live that this master issues; all are renewed at two thirds of it; give all masters the same")
	f.token.add(command, "the secret that all masters share, or a token of \"token create\"")
	f.log.add(command)
}

func (f *masterFlags) run(cmd *cobra.Command, _ []string) error {
	if err := checkDurations(cmd); err != nil {
		return err
	}
	if err := f.complete(cmd); err != nil {
		return err
	}
	return master.Run(cmd.Context(), f.config)
}

// complete turns what was typed into a configuration.
func (f *masterFlags) complete(cmd *cobra.Command) (err error) {
	f.config.DataDir = dataDir(cmd)
	if err := checkDataDir(f.config.DataDir); err != nil {
		return err
	}
	if f.config.Peers, err = raftstore.ParsePeers(strings.Join(f.peers, ",")); err != nil {
		return fmt.Errorf("--peers: %w", err)
	}
	if f.config.Token, err = f.token.read(cmd.Context(), cmd.InOrStdin()); err != nil {
		return err
	}
	for name, into := range map[string]struct {
		text string
		cidr *netip.Prefix
	}{"cluster-cidr": {f.clusterCIDR, &f.config.ClusterCIDR}, "service-cidr": {f.serviceCIDR, &f.config.ServiceCIDR}} {
		if into.text == "" {
			continue
		}
		if *into.cidr, err = netip.ParsePrefix(into.text); err != nil {
			return fmt.Errorf("--%s: %w", name, err)
		}
	}
	f.config.Logger, err = f.log.logger(cmd.ErrOrStderr())
	out := cmd.OutOrStdout()
	f.config.Ready = func(r master.Ready) { printReady(out, cmd.Root().Name(), r) }
	return err
}

// checkDurations refuses a negative duration in any flag of a daemon: none of them means anything.
func checkDurations(cmd *cobra.Command) (err error) {
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if flag.Value.Type() != "duration" || err != nil {
			return
		}
		if given, _ := cmd.Flags().GetDuration(flag.Name); given < 0 {
			err = fmt.Errorf("--%s %s is negative: give a duration such as %s", flag.Name, given, flag.DefValue)
		}
	})
	return err
}

// printReady is the one line that a master prints when it is ready, and what to type next.
func printReady(out io.Writer, program string, r master.Ready) {
	fmt.Fprintf(out, "master %s is ready: API %s, store %s\n", r.Name, r.API, r.Client)
	if r.NewToken != "" {
		fmt.Fprintf(out, "more masters:  CTLPLANE_TOKEN=%s %s join %s --master\n", r.NewToken, program, r.Peer)
	}
	fmt.Fprintf(out, "next:  %[1]s get nodes --kubeconfig %[2]s   and for nodes:  %[1]s join %[3]s --token $(%[1]s token create)\n",
		program, r.Kubeconfig, r.APIAddress)
}

// logFlags say what a daemon logs, and how.
type logFlags struct{ level, format string }

func (f *logFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(&f.format, "log-format", "text", "text or json")
}

func (f *logFlags) logger(out io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch f.format {
	case "text":
		handler = slog.NewTextHandler(out, options)
	case "json":
		handler = slog.NewJSONHandler(out, options)
	default:
		return nil, fmt.Errorf("--log-format %q: use text or json", f.format)
	}
	logger := slog.New(logging.NewLimiter(handler))
	slog.SetDefault(logger)
	klog.SetSlogLogger(logger) // Kubernetes' libraries would write to standard error by themselves
	return logger, nil
}
