package main

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

// notKubectl are kubectl's commands that have no place here: ours have the same name, or they are about
// kubectl itself.
var notKubectl = map[string]bool{
	"version": true, "completion": true, "options": true, "plugin": true, "help": true, "alpha": true, "kuberc": true,
}

// addKubectl puts kubectl's own commands directly under root, with kubectl's global flags on each of them
// and the cluster's kubeconfig found without flags.
func addKubectl(root *cobra.Command) {
	donor := kubectl.NewKubectlCommand(kubectl.KubectlOptions{
		IOStreams:   genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		ConfigFlags: nil,
	})
	util.BehaviorOnFatal(func(message string, code int) {
		if message != "" {
			_, _ = os.Stderr.WriteString(message)
			if message[len(message)-1] != '\n' {
				_, _ = os.Stderr.WriteString("\n")
			}
		}
		os.Exit(code)
	})
	for _, command := range donor.Commands() {
		if notKubectl[command.Name()] {
			continue
		}
		donor.RemoveCommand(command)
		command.GroupID = groupObjects
		command.PersistentFlags().AddFlagSet(donor.PersistentFlags())
		before := command.PersistentPreRunE
		command.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
			useClusterKubeconfig(cmd)
			if err := donor.PersistentPreRunE(cmd, args); err != nil || before == nil {
				return err
			}
			return before(cmd, args)
		}
		command.PersistentPostRunE = donor.PersistentPostRunE
		root.AddCommand(command)
	}
}

// useClusterKubeconfig makes kubectl's commands load the cluster's kubeconfig. They read the variable
// when they first need a client, which is after this.
func useClusterKubeconfig(cmd *cobra.Command) {
	if path := findKubeconfig(cmd); path != "" {
		_ = os.Setenv("KUBECONFIG", path) // fails for malformed names only
	}
}
