package main

import (
	"io"
	"os"
	"regexp"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
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
	complaints := underOurName{os.Stderr}
	donor := kubectl.NewKubectlCommand(kubectl.KubectlOptions{
		IOStreams:   genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: complaints},
		ConfigFlags: nil,
	})
	util.BehaviorOnFatal(func(message string, code int) {
		if message != "" {
			_, _ = io.WriteString(complaints, message)
			if message[len(message)-1] != '\n' {
				_, _ = io.WriteString(complaints, "\n")
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
		rename(command, "kubectl ", "ctlplane ")
		refuseNotYet(command, command.Name())
		command.PersistentFlags().AddFlagSet(donor.PersistentFlags())
		before := command.PersistentPreRunE
		command.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
			if err := useClusterKubeconfig(cmd); err != nil && !withoutCluster[command.Name()] {
				return err
			}
			if err := donor.PersistentPreRunE(cmd, args); err != nil || before == nil {
				return err
			}
			return before(cmd, args)
		}
		command.PersistentPostRunE = donor.PersistentPostRunE
		root.AddCommand(command)
	}
}

// kubectlCommand is kubectl's name before what can be a command of it, as texts for people have it.
var kubectlCommand = regexp.MustCompile(`\bkubectl( [a-z]|"|'|` + "`" + `)`)

// underOurName passes on what kubectl's commands tell people, with our name where they name themselves.
type underOurName struct{ out io.Writer }

// Write implements io.Writer.
func (w underOurName) Write(p []byte) (int, error) {
	if _, err := w.out.Write(kubectlCommand.ReplaceAll(p, []byte("ctlplane$1"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// withoutCluster are kubectl's commands that need none.
var withoutCluster = map[string]bool{"config": true, "kustomize": true}

// useClusterKubeconfig makes kubectl's commands load the cluster's kubeconfig. They read the variable
// when they first need a client, which is after this. The error is errNoCluster when they would find
// nothing to talk to in any other way either.
func useClusterKubeconfig(cmd *cobra.Command) error {
	if path := findKubeconfig(cmd); path != "" {
		return os.Setenv("KUBECONFIG", path)
	}
	for _, flag := range []string{"kubeconfig", "server"} {
		if given := cmd.Flags().Lookup(flag); given != nil && given.Changed {
			return nil
		}
	}
	if _, err := os.Stat(clientcmd.RecommendedHomeFile); err == nil || os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return nil
	}
	return errNoCluster
}
