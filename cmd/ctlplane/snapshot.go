package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/term"

	"github.com/ctlplane/ctlplane/api/snapshot"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/raftstore"
)

// newSnapshot is `ctlplane snapshot`: copies of the store, and data from etcd and to it.
func newSnapshot() *cobra.Command {
	command := &cobra.Command{
		Use:     "snapshot",
		Short:   "Save, check and restore copies of the store; move data from etcd and back",
		GroupID: groupStore,
		Example: `  ctlplane snapshot save backup.ctl
  ctlplane snapshot status backup.ctl
  ctlplane snapshot restore backup.ctl --data-dir /var/lib/ctlplane

  etcdctl snapshot save etcd.db && ctlplane snapshot import etcd.db --data-dir /var/lib/etcd.new
  ctlplane snapshot export etcd.db && etcdutl snapshot restore etcd.db`,
	}
	command.AddCommand(newSnapshotSave(), newSnapshotStatus(), newSnapshotRestore(), newSnapshotImport(), newSnapshotExport())
	refuseUnknown(command)
	return command
}

func newSnapshotSave() *cobra.Command {
	var format string
	command := &cobra.Command{
		Use:   "save FILE",
		Short: "Save the state of one member, as it is now, to a file",
		Long: `Save the state of one member, as it is now, to a file with a checksum. Requests go on meanwhile.

Without --endpoints the command asks the first member of the cluster. The format "ctlplane" is the store's own: fast and small.
The format "etcd" is a database file for etcd's tools. A member of etcd always sends its own format.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != snapshot.FormatNative && format != snapshot.FormatEtcd {
				return fmt.Errorf("--format %q: choose %s or %s", format, snapshot.FormatNative, snapshot.FormatEtcd)
			}
			return saveSnapshot(cmd, args[0], format)
		},
	}
	addStoreFlags(command)
	command.Flags().StringVar(&format, "format", snapshot.FormatNative, "ctlplane, or etcd for etcd's own database file")
	return command
}

func newSnapshotExport() *cobra.Command {
	var from string
	command := &cobra.Command{
		Use:   "export FILE",
		Short: "Write the store, or a saved snapshot of it, as an etcd snapshot",
		Long: `Write a snapshot of the store in etcd's format, for etcdutl and etcd. It has all revisions that are not compacted, leases, users
and roles.

With --from, the command converts a snapshot that was saved before, and needs no cluster.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from == "" {
				return saveSnapshot(cmd, args[0], snapshot.FormatEtcd)
			}
			bar := newTransferBar(cmd, "reading")
			defer bar.end()
			if err := raftstore.ConvertBackup(cmd.Context(), from, args[0], bar.tell); err != nil {
				return err
			}
			bar.end()
			fmt.Fprintf(cmd.OutOrStdout(), "Snapshot written to %s in etcd's format\n", args[0])
			return nil
		},
	}
	addStoreFlags(command)
	command.Flags().StringVar(&from, "from", "", "a snapshot in ctlplane's own format to convert")
	return command
}

func saveSnapshot(cmd *cobra.Command, path, format string) error {
	if err := pointAtCluster(cmd, nil); err != nil {
		return err
	}
	kv, err := snapshotClient(cmd)
	if err != nil {
		return err
	}
	defer kv.Close()
	bar := newTransferBar(cmd, "saving")
	defer bar.end()
	saved, err := client.SaveSnapshot(cmd.Context(), kv, path, format, bar.tell)
	bar.end()
	if err != nil {
		return snapshotError(err, kv)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Snapshot saved at %s (%s, version %s)\n", path, humanize.Bytes(uint64(saved.Bytes)), saved.Version)
	return nil
}

func snapshotError(err error, kv *clientv3.Client) error {
	if errors.Is(err, os.ErrExist) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("snapshot from %s: %w", strings.Join(kv.Endpoints(), ", "), err)
}

// snapshotClient connects to one member: a snapshot is one's own.
func snapshotClient(cmd *cobra.Command) (*clientv3.Client, error) {
	flags := cmd.Flags()
	text := func(name string) string { value, _ := flags.GetString(name); return value }
	truth := func(name string) bool { value, _ := flags.GetBool(name); return value }
	endpoints, err := flags.GetStringSlice("endpoints")
	if err != nil || len(endpoints) == 0 {
		return nil, errors.Join(errors.New("no endpoint is known: name a member's client port with --endpoints"), err)
	}
	dial, _ := flags.GetDuration("dial-timeout")
	spec := &clientv3.ConfigSpec{
		Endpoints: endpoints[:1], DialTimeout: dial,
		Secure: &clientv3.SecureConfig{
			Cert: text("cert"), Key: text("key"), Cacert: text("cacert"),
			InsecureTransport: truth("insecure-transport"), InsecureSkipVerify: truth("insecure-skip-tls-verify"),
		},
	}
	if user, token := text("user"), text("auth-jwt-token"); user != "" || token != "" {
		name, password, err := userAndPassword(user, text("password"))
		if err != nil {
			return nil, err
		}
		spec.Auth = &clientv3.AuthConfig{Username: name, Password: password, Token: token}
	}
	config, err := clientv3.NewClientConfig(spec, zap.NewNop())
	if err != nil {
		return nil, err
	}
	config.Logger, config.Context = zap.NewNop(), cmd.Context()
	return clientv3.New(*config)
}

// userAndPassword takes --user and --password apart, and asks for the password of a user that came with none.
func userAndPassword(user, given string) (name, password string, err error) {
	name, password, complete := strings.Cut(user, ":")
	if given != "" {
		return name, given, nil
	}
	if complete || name == "" {
		return name, password, nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", "", fmt.Errorf("no password for user %s, and no terminal to ask at: give --password, or --user %s:PASSWORD", name, name)
	}
	fmt.Fprint(os.Stderr, "Password: ")
	typed, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return "", "", fmt.Errorf("read the password of user %s: %w", name, err)
	}
	return name, string(typed), nil
}
