package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ctlplane/ctlplane/raftstore"
)

// defaultBump is more revisions than a cluster makes between a backup and its restore: etcd's own advice.
const defaultBump = 1_000_000_000

// restoreFlags are those of etcdutl's `snapshot restore`.
type restoreFlags struct {
	name, cluster, token, peerURLs string
	skipHash                       bool
	bump                           int64
	compacted                      bool
}

func newSnapshotRestore() *cobra.Command {
	var f restoreFlags
	command := &cobra.Command{
		Use:   "restore FILE --data-dir DIR",
		Short: "Make a data directory from a snapshot, to go back to an earlier state",
		Long: `Make a data directory from a snapshot. The command recognizes the file's format. A member that is started on the directory is the
first of a new cluster; the others join it with empty directories. Or restore every member from the same file, each with the same
--initial-cluster and --initial-cluster-token, as with etcd.

Clients may have seen revisions that are later than the snapshot. Therefore the command raises the revision and marks the past as
compacted: a client that resumes a watch is told to read again, and no client sees two contents of the same revision.
--bump-revision 0 --mark-compacted=false turns both off.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.restore(cmd, args[0]) },
	}
	f.add(command)
	command.Flags().Int64Var(&f.bump, "bump-revision", defaultBump, "how much to raise the revision")
	command.Flags().BoolVar(&f.compacted, "mark-compacted", true, "make everything before the revision unreadable")
	return command
}

func newSnapshotImport() *cobra.Command {
	var f restoreFlags
	command := &cobra.Command{
		Use:   "import FILE --data-dir DIR",
		Short: "Make a data directory from an etcd snapshot, to move from etcd to ctlplane",
		Long: `Make a data directory from an etcd snapshot. Everything stays as it is: every revision that the file has, the current
revision, leases, users and roles. Stop all clients that write before you take the snapshot. Clients then go on with ctlplane as
with etcd.

With --skip-hash-check the command takes the database file of an etcd member that was stopped, member/snap/db, as well.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.restore(cmd, args[0]) },
	}
	f.add(command)
	return command
}

func (f *restoreFlags) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.name, "name", "default", "the member's name in --initial-cluster")
	flags.StringVar(&f.cluster, "initial-cluster", "", "all members that are restored from this file, name=url each (default: this one alone)")
	flags.StringVar(&f.token, "initial-cluster-token", "etcd-cluster", "what tells clusters with the same members apart")
	flags.StringVar(&f.peerURLs, "initial-advertise-peer-urls", "", "this member's URLs in --initial-cluster")
	flags.BoolVar(&f.skipHash, "skip-hash-check", false, "accept a database that was copied out of a data directory, which has no checksum")
}

func (f *restoreFlags) restore(cmd *cobra.Command, file string) error {
	dir, _ := cmd.Flags().GetString("data-dir")
	if dir == "" {
		return errors.New("say with --data-dir where the member's data is to be")
	}
	cluster, err := f.clusterName()
	if err != nil {
		return err
	}
	bar := newTransferBar(cmd, "restoring")
	defer bar.end()
	restored, err := raftstore.Restore(cmd.Context(), raftstore.RestoreConfig{
		File: file, DataDir: dir, SkipHashCheck: f.skipHash, BumpRevision: f.bump, MarkCompacted: f.compacted,
		Cluster: cluster, Progress: bar.tell,
	})
	bar.end()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Restored %d keys at revision %d into %s, the beginning of cluster %x\n", restored.Keys, restored.Revision, dir, restored.ClusterID)
	fmt.Fprintf(cmd.OutOrStdout(), "Start it with `ctlplane etcd --data-dir %[1]s`, or `ctlplane init --data-dir %[1]s`\n", dir)
	return nil
}

// clusterName stands for the members that are restored alike; empty where it is one.
func (f *restoreFlags) clusterName() (string, error) {
	if f.cluster == "" {
		return "", nil
	}
	members := strings.FieldsFunc(f.cluster, func(r rune) bool { return r == ',' })
	slices.Sort(members)
	known := false
	for _, member := range members {
		name, url, found := strings.Cut(member, "=")
		if !found || name == "" || url == "" {
			return "", fmt.Errorf("--initial-cluster: %q is not name=url", member)
		}
		known = known || (name == f.name && (f.peerURLs == "" || slices.Contains(strings.Split(f.peerURLs, ","), url)))
	}
	if !known {
		return "", fmt.Errorf("--initial-cluster does not have the member %s at %q: it must be as --name and --initial-advertise-peer-urls say", f.name, f.peerURLs)
	}
	return f.token + " " + strings.Join(members, ","), nil
}
