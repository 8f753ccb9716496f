package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// notYet are kubectl's commands that the cluster can't serve yet, by their path, each with what is missing.
var notYet = map[string]string{
	"attach":                     "nodes can't connect a terminal to a container",
	"auth can-i":                 "the API server has no access reviews",
	"auth reconcile":             noRBAC,
	"auth whoami":                "the API server has no access reviews",
	"autoscale":                  "there are no horizontal pod autoscalers",
	"certificate approve":        "there are no certificate signing requests",
	"certificate deny":           "there are no certificate signing requests",
	"cluster-info dump":          "it reads kinds that are not there",
	"cp":                         "it needs a command in the container, which nodes can't run for clients",
	"create clusterrole":         noRBAC,
	"create clusterrolebinding":  noRBAC,
	"create cronjob":             "there are no cron jobs",
	"create ingress":             "there are no ingresses",
	"create job":                 "there are no jobs",
	"create poddisruptionbudget": "there are no pod disruption budgets",
	"create priorityclass":       "there are no priority classes",
	"create quota":               "there are no resource quotas",
	"create role":                noRBAC,
	"create rolebinding":         noRBAC,
	"create token":               "the API server issues no service account tokens",
	"exec":                       "nodes can't run a command in a container for a client",
	"port-forward":               "nodes can't forward connections to a pod for a client",
	"set subject":                noRBAC,
	"top node":                   "there is no metrics API",
	"top pod":                    "there is no metrics API",
}

const noRBAC = "there are no roles and role bindings"

// notYetWith are uses of kubectl's commands that the cluster can't serve yet, though it serves others of the same command.
var notYetWith = map[string]func(cmd *cobra.Command, args []string) (missing string){
	"debug": func(cmd *cobra.Command, args []string) string {
		copies := cmd.Flags().Changed("copy-to")
		if len(args) > 0 && !strings.HasPrefix(args[0], "node/") && !copies {
			return "there are no ephemeral containers; debug a copy of the pod with --copy-to, or the node"
		}
		return terminal(cmd)
	},
	"run": func(cmd *cobra.Command, _ []string) string { return terminal(cmd) },
}

// terminal says what is missing for a command that wants its terminal connected to a container.
func terminal(cmd *cobra.Command) string {
	wanted, _ := cmd.Flags().GetBool("attach")
	if !cmd.Flags().Changed("attach") {
		wanted, _ = cmd.Flags().GetBool("stdin") // which attaches unless it is told not to
	}
	if wanted {
		return notYet["attach"]
	}
	return ""
}

// refuseNotYet makes a command and those below it say what is missing, before they look for a cluster. Their help stays.
func refuseNotYet(command *cobra.Command, path string) {
	for _, below := range command.Commands() {
		refuseNotYet(below, path+" "+below.Name())
	}
	missing, ok := notYet[path]
	if ok {
		command.Short += " (not yet)"
		command.Args = func(*cobra.Command, []string) error { return notYetError(path, missing) }
		return
	}
	with, ok := notYetWith[path]
	if !ok {
		return
	}
	before := command.Args
	command.Args = func(cmd *cobra.Command, args []string) error {
		if missing := with(cmd, args); missing != "" {
			return notYetError(path, missing)
		}
		if before == nil {
			return nil
		}
		return before(cmd, args)
	}
}

func notYetError(path, missing string) error {
	return fmt.Errorf("ctlplane %s: not yet: %s", path, missing)
}
