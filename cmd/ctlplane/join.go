package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctlplane/ctlplane/agent"
	"github.com/ctlplane/ctlplane/agent/machine"
	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/raftstore"
)

const defaultAgentPort = "10250"

// joinFlags are the flags of `ctlplane join`.
type joinFlags struct {
	masterFlags
	master    bool
	nodeIP    string
	agentAddr string
	runtime   string
	labels    map[string]string
	heartbeat time.Duration
}

func newJoin() *cobra.Command {
	var f joinFlags
	command := &cobra.Command{
		Use:   "join SERVER",
		Short: "Add this machine to a cluster, as a node or with --master as a master, in the foreground",
		Long: `Add this machine to a cluster, as a node or with --master as a master, in the foreground.

SERVER is any master's address: its API port for a node (default port 6443), its peer port for a master (default 2380).
Only the first start needs a token. To restart, give the same command again; a node's containers keep running meanwhile.
A node renews its certificates by itself. If it was away until its certificate ended, it needs a token once more; its pods and
its data stay. "ctlplane leave" takes a node off its machine.`,
		Example: `  ctlplane join 10.0.0.1 --token-file node-token
  ctlplane join 10.0.0.1 --master --token-file master-token`,
		GroupID: groupCluster,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkDurations(cmd); err != nil {
				return err
			}
			if f.master {
				return f.runMaster(cmd, args[0])
			}
			if err := errors.Join(machine.CheckRequirements(), checkDataDir(dataDir(cmd))); err != nil {
				return err
			}
			return f.runNode(cmd, args[0])
		},
	}
	f.addCommon(command)
	flags := command.Flags()
	flags.BoolVar(&f.master, "master", false, "join as a master; the token must be for masters")
	flags.StringVar(&f.nodeIP, "node-ip", "", "the address at which other nodes reach this one (default: the one that leads to SERVER)")
	flags.StringVar(&f.agentAddr, "agent-addr", ":"+defaultAgentPort, "where the agent listens for the API server")
	flags.StringVar(&f.runtime, "runtime", "auto", "container runtime: auto or embedded")
	flags.StringToStringVar(&f.labels, "labels", nil, "labels of the node, key=value")
	flags.DurationVar(&f.heartbeat, "heartbeat", agent.DefaultHeartbeat, "how often the node says that it is alive")
	return command
}

func (f *joinFlags) runMaster(cmd *cobra.Command, server string) error {
	if err := f.complete(cmd); err != nil {
		return err
	}
	f.config.Join = withPort(server, raftstore.DefaultPeerPort)
	return master.Run(cmd.Context(), f.config)
}

// runNode joins if need be, and runs the agent until it is told to end.
func (f *joinFlags) runNode(cmd *cobra.Command, server string) error {
	if f.runtime != "auto" && f.runtime != "embedded" {
		return fmt.Errorf("--runtime %q is not there: use auto or embedded", f.runtime)
	}
	log, err := f.log.logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	config := machine.Config{
		Name: f.config.Name, DataDir: dataDir(cmd), Version: version,
		Listen: f.agentAddr, Labels: f.labels, Heartbeat: f.heartbeat, Logger: log,
	}
	if config.Name == "" {
		if config.Name, err = os.Hostname(); err != nil {
			return err
		}
	}
	server = withPort(server, master.DefaultAPIPort)
	if config.IP, err = f.ownAddress(server); err != nil {
		return err
	}
	enrolment, err := f.enrol(cmd, server, config.DataDir, config.Name, config.IP, log)
	if err != nil {
		return err
	}
	enrolment.Hosts = []string{config.Name, config.IP.String()}
	config.Ready = func() {
		fmt.Fprintf(cmd.OutOrStdout(), "node %s is ready at %s\nnext:  %s get nodes   (on a master)\n", config.Name, config.IP, cmd.Root().Name())
	}
	return runEnrolled(cmd.Context(), config, enrolment)
}

// ownAddress is the node's address: what it was told, or the one that its way to the server starts at.
func (f *joinFlags) ownAddress(server string) (netip.Addr, error) {
	if f.nodeIP != "" {
		ip, err := netip.ParseAddr(f.nodeIP)
		if err != nil {
			return ip, fmt.Errorf("--node-ip: %w", err)
		}
		return ip, nil
	}
	way, err := net.Dial("udp", server) // sends nothing
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no way to %s: %w; or say the node's address with --node-ip", server, err)
	}
	defer way.Close()
	return way.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// withPort completes an address, with or without a scheme before it.
func withPort(address, port string) string {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}
