package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3/command"
	"golang.org/x/sys/unix"
)

// newKV is `ctlplane kv`: etcdctl's own commands and flags, pointed at this cluster.
func newKV() *cobra.Command {
	kv := &cobra.Command{
		Use:     "kv",
		Short:   "Read, write and watch keys, with etcdctl's commands and flags",
		GroupID: groupStore,
		Example: `  ctlplane kv put greeting hello
  ctlplane kv get --prefix gree
  ctlplane kv watch --prefix gree
  ctlplane kv --endpoints 10.0.0.1:2379 --insecure-transport lease grant 60`,
	}
	kv.AddGroup(command.NewKVGroup(), command.NewClusterMaintenanceGroup())
	flags := kv.PersistentFlags()
	flags.StringSlice("endpoints", nil, "the masters' client ports (default: the cluster's)")
	flags.String("cacert", "", "verify servers with this CA file (default: the cluster's)")
	flags.String("cert", "", "client certificate file (default: the admin's)")
	flags.String("key", "", "client key file (default: the admin's)")
	flags.Bool("insecure-transport", false, "talk to the client port in plain text")
	flags.Bool("insecure-skip-tls-verify", false, "do not verify the server's certificate (for tests only)")
	flags.StringP("write-out", "w", "simple", "output format: fields, json, protobuf, simple, table")
	flags.Bool("hex", false, "print byte strings in hexadecimal")
	flags.Duration("dial-timeout", 2*time.Second, "how long to try to connect")
	flags.Duration("command-timeout", 5*time.Second, "how long a short command may take")
	flags.Duration("keepalive-time", 2*time.Second, "time between keepalives of the connection")
	flags.Duration("keepalive-timeout", 6*time.Second, "how long a keepalive may stay unanswered")
	flags.Int("max-request-bytes", 0, "largest request (0: 2 MiB)")
	flags.Int("max-recv-bytes", 0, "largest answer (0: no limit)")
	flags.String("user", "", "user name, or name:password")
	flags.String("password", "", "password of --user")
	flags.String("auth-jwt-token", "", "token, instead of --user")
	flags.Bool("debug", false, "log what the client does")
	// The commands look these up; finding servers by DNS is not offered.
	for _, name := range []string{"discovery-srv", "discovery-srv-name"} {
		flags.String(name, "", "")
		_ = flags.MarkHidden(name)
	}
	flags.Bool("insecure-discovery", true, "")
	_ = flags.MarkHidden("insecure-discovery")

	kv.PersistentPreRunE = pointAtCluster
	kv.AddCommand(
		command.NewGetCommand(), command.NewPutCommand(), command.NewDelCommand(), command.NewTxnCommand(),
		command.NewWatchCommand(), command.NewLeaseCommand(), command.NewCompactionCommand(),
	)
	return kv
}

// pointAtCluster fills in the connection flags that were not given, from the cluster's kubeconfig.
func pointAtCluster(cmd *cobra.Command, _ []string) error {
	flags := cmd.Flags()
	if flags.Changed("endpoints") || os.Getenv("ETCDCTL_ENDPOINTS") != "" {
		return nil
	}
	access, err := clusterAccess(cmd)
	if err != nil {
		return fmt.Errorf("%w; or name the store's client port with --endpoints", err)
	}
	if err := flags.Set("endpoints", strings.Join(access.Endpoints, ",")); err != nil {
		return err
	}
	if access.Insecure {
		return flags.Set("insecure-transport", "true")
	}
	for name, content := range map[string][]byte{"cacert": access.CA, "cert": access.Cert, "key": access.Key} {
		if flags.Changed(name) {
			continue
		}
		path, err := memoryFile(name, content)
		if err != nil {
			return err
		}
		if err := flags.Set(name, path); err != nil {
			return err
		}
	}
	return nil
}

// memoryFile makes a file that this process alone can open and that is never on disk: the commands take
// certificates as files, the kubeconfig has them inside. It lives as long as the process.
func memoryFile(name string, content []byte) (string, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("memory file: %w", err)
	}
	if _, err := unix.Write(fd, content); err != nil {
		return "", fmt.Errorf("memory file: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}
