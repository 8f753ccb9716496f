package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/agent/machine"
	"github.com/ctlplane/ctlplane/pki"
)

func newLeave() *cobra.Command {
	command := &cobra.Command{
		Use:   "leave",
		Short: "Take everything that this machine's node made off the machine",
		Long: `Take everything that this machine's node made off the machine: containers, mounts, cgroups, interfaces, routes, nftables
rules, images, pods' data and the node's certificates. What a master keeps in the same data directory stays.

The agent must not run. Move the node's pods elsewhere first: what still runs is ended, and its data is lost.

  ctlplane drain NAME --ignore-daemonsets --delete-emptydir-data    # where the administrator's kubeconfig is
  systemctl disable --now ctlplane                                  # or however the agent is run here
  ctlplane leave
  ctlplane delete node NAME                                         # where the administrator's kubeconfig is

A node may not remove itself from the cluster, as in Kubernetes. If the administrator's kubeconfig is on this machine, or is
given with --kubeconfig, "leave" does the last step as well. The same token or another brings the machine back with "ctlplane join".`,
		Example: `  ctlplane leave
  ctlplane leave --data-dir /srv/ctlplane`,
		GroupID: groupCluster,
		Args:    cobra.NoArgs,
		RunE:    runLeave,
	}
	addKubeconfigFlag(command)
	return command
}

func runLeave(cmd *cobra.Command, _ []string) error {
	if os.Geteuid() != 0 {
		return errors.New("leave needs root, for containers and the network: run this as root")
	}
	dir, err := filepath.Abs(dataDir(cmd))
	if err != nil {
		return err
	}
	enrolment := filepath.Join(dir, "pki")
	name, enrolled, err := pki.EnrolledName(enrolment)
	if err != nil {
		return err
	}
	var ca *pki.CA
	if enrolled {
		if ca, err = pki.LoadCA(enrolment); err != nil {
			return err
		}
	}
	err = machine.Leave(cmd.Context(), dir, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelError})))
	if errors.Is(err, machine.ErrNoNode) && !enrolled {
		return fmt.Errorf("this machine is no node: %s holds no node's data; if that is elsewhere, name it with --data-dir", dir)
	}
	if err != nil && !errors.Is(err, machine.ErrNoNode) {
		return fmt.Errorf("%w; then `%s leave` again", err, cmd.Root().Name())
	}
	// The enrolment goes last: until then the command may be repeated.
	if err := pki.RemoveEnrolment(enrolment); err != nil {
		return err
	}
	_ = os.Remove(dir) // unless something else is in it
	out := cmd.OutOrStdout()
	if !enrolled {
		fmt.Fprintln(out, "what a node left on this machine is gone")
		return nil
	}
	fmt.Fprintf(out, "node %s is off this machine\n", name)
	if err := deregister(cmd, ca, name); err != nil {
		fmt.Fprintf(out, "the cluster still lists it (%v). To remove it, where the administrator's kubeconfig is:  %s delete node %s\n", err, cmd.Root().Name(), name)
		return nil
	}
	fmt.Fprintf(out, "node %s is no longer in the cluster\n", name)
	return nil
}

// deregisterPatience is how long the cluster may take to be told that a node has left.
const deregisterPatience = 10 * time.Second

// deregister removes a node and its lease from the cluster with the given CA, if that cluster's kubeconfig is here.
func deregister(cmd *cobra.Command, ca *pki.CA, name string) error {
	access, api, err := connectAPI(cmd)
	if err != nil {
		return errors.New("no kubeconfig of it is on this machine")
	}
	if !bytes.Equal(bytes.TrimSpace(access.CA), bytes.TrimSpace(ca.CertPEM())) {
		return errors.New("the kubeconfig on this machine is another cluster's")
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), deregisterPatience)
	defer cancel()
	if err := api.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	err = api.CoordinationV1().Leases(corev1.NamespaceNodeLease).Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
