package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/client"
)

const kubeconfigName = "admin.kubeconfig"

// defaultDataDir is where a machine's state goes unless --data-dir or CTLPLANE_DATA_DIR say otherwise.
func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/ctlplane"
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "ctlplane")
	}
	return "ctlplane-data"
}

func dataDir(cmd *cobra.Command) string {
	if dir, _ := cmd.Flags().GetString("data-dir"); dir != "" {
		return dir
	}
	if dir := os.Getenv("CTLPLANE_DATA_DIR"); dir != "" {
		return dir
	}
	return defaultDataDir()
}

// addKubeconfigFlag has a command and those below it take the flag that kubectl's commands have by themselves.
func addKubeconfigFlag(command *cobra.Command) {
	command.PersistentFlags().String("kubeconfig", "", "the kubeconfig of the cluster that is meant (default: $KUBECONFIG, this machine's master's, or that of 'ctlplane dev')")
}

// checkDataDir tells what is wrong with a directory that a machine's state is to be kept in, before anything is made there.
func checkDataDir(dir string) error {
	for path := dir; ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
			continue // it will be made
		}
		switch {
		case errors.Is(err, syscall.ENOTDIR):
			continue // its parent is what is in the way
		case err != nil:
			return fmt.Errorf("the data directory %s can't be used: %w; choose another with --data-dir", dir, err)
		case !info.IsDir():
			return fmt.Errorf("the data directory %s can't be used: %s is not a directory; choose another with --data-dir", dir, path)
		case unix.Access(path, unix.W_OK) != nil:
			return fmt.Errorf("the data directory %s can't be used: this user may not write to %s; choose another with --data-dir, or run this as root", dir, path)
		}
		return nil
	}
}

// findKubeconfig is the kubeconfig of the cluster that a command means: that of the flag or, where nothing is said, KUBECONFIG's,
// this machine's master's, or that of a cluster that `ctlplane dev` runs here. Empty when there is none.
func findKubeconfig(cmd *cobra.Command) string {
	if given := cmd.Flags().Lookup("kubeconfig"); given != nil && given.Value.String() != "" {
		return given.Value.String()
	}
	if path := os.Getenv("KUBECONFIG"); path != "" {
		return path
	}
	for _, dir := range []string{dataDir(cmd), devDir(cmd)} {
		path := filepath.Join(dir, kubeconfigName)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// devDir is where the cluster of `ctlplane dev` lives.
func devDir(cmd *cobra.Command) string { return filepath.Join(dataDir(cmd), "dev") }

var errNoCluster = errors.New("no cluster is known here: set KUBECONFIG, --kubeconfig or --data-dir, or start one with `ctlplane dev`")

// clusterAccess reads the access to the cluster that a command means.
func clusterAccess(cmd *cobra.Command) (client.Access, error) {
	path := findKubeconfig(cmd)
	if path == "" {
		return client.Access{}, errNoCluster
	}
	access, err := client.ReadKubeconfig(path)
	if err != nil {
		return access, err
	}
	if len(access.Endpoints) == 0 {
		return access, fmt.Errorf("%s does not say where the store's client port is: it is not a ctlplane cluster's", path)
	}
	return access, nil
}
