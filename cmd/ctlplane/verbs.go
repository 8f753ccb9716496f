package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3/command"
)

// storeVerbs are etcdctl's commands that stand directly under the root, with what each is for.
func storeVerbs() map[*cobra.Command]string {
	return map[*cobra.Command]string{
		command.NewUserCommand():       "Add, change and list the store's users",
		command.NewRoleCommand():       "Add, change and list the store's roles and what they may do",
		command.NewLockCommand():       "Hold a named lock, for as long as a command runs",
		command.NewElectCommand():      "Take part in an election, or watch it",
		command.NewAlarmCommand():      "List and disarm the store's alarms",
		command.NewMemberCommand():     "Add, remove, promote and list the store's members",
		command.NewEndpointCommand():   "Show the state of the store's members: health, status, hashes of the history",
		command.NewMoveLeaderCommand(): "Transfer leadership to another member",
		command.NewDefragCommand():     "Give disk space back at once, while requests go on",
		command.NewMakeMirrorCommand(): "Copy keys to another store, and keep the copy up to date",
		command.NewCheckCommand():      "Check how fast the store is, and how much memory data takes",
		command.NewDowngradeCommand():  "Check and prepare a downgrade, as in etcd",
	}
}

// addStoreVerbs puts etcdctl's other commands under root, pointed at the cluster. Its `auth` joins kubectl's, which must be
// there.
func addStoreVerbs(root *cobra.Command) {
	for verb, short := range storeVerbs() {
		rename(verb, "etcdctl ", "ctlplane ")
		verb.GroupID, verb.Short = groupStore, short
		asStoreVerb(verb)
		root.AddCommand(verb)
	}
	for _, objects := range root.Commands() {
		if objects.Name() != "auth" {
			continue
		}
		objects.Short = "Inspect authorization; turn the store's users on and off"
		objects.Long += "\n\nThe commands enable, disable and status are about the store's own users and roles."
		objects.AddGroup(&cobra.Group{ID: groupStore, Title: "Users of the key-value store:"})
		donor := command.NewAuthCommand()
		for _, verb := range donor.Commands() {
			donor.RemoveCommand(verb)
			verb.GroupID = groupStore
			rename(verb, "etcdctl ", "ctlplane ")
			asStoreVerb(verb)
			objects.AddCommand(verb)
		}
	}
}

// asStoreVerb makes a command of etcdctl's one of ours.
func asStoreVerb(verb *cobra.Command) {
	addStoreFlags(verb)
	verb.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if cmd.HasSubCommands() {
			return nil // it prints its help
		}
		// These commands don't look at our context: an interrupt must end them, as it ends etcdctl.
		signal.Reset(os.Interrupt, syscall.SIGTERM)
		if err := pointAtCluster(cmd, args); err != nil || cmd.Name() != "datascale" {
			return err
		}
		return overHTTP(cmd.Flags())
	}
}

// rename has the texts of a command of another program, and of those below it, call the program by our name. Both names end with a
// blank, so that links and annotations keep theirs.
func rename(verb *cobra.Command, program, ours string) {
	for _, text := range []*string{&verb.Short, &verb.Long, &verb.Example} {
		*text = strings.ReplaceAll(*text, program, ours)
	}
	for _, flags := range []*pflag.FlagSet{verb.Flags(), verb.PersistentFlags()} {
		flags.VisitAll(func(flag *pflag.Flag) { flag.Usage = strings.ReplaceAll(flag.Usage, program, ours) })
	}
	for _, below := range verb.Commands() {
		rename(below, program, ours)
	}
}

// takesNoWords tells whether a command's usage names no argument.
func takesNoWords(command *cobra.Command) bool {
	return strings.TrimSuffix(command.Use, " [options]") == command.Name()
}

// refuseUnknown makes a command and those below it refuse words that mean nothing to them, where cobra would print the help and
// succeed, or run the command without them: commands that have others below them, and those whose usage names no argument.
func refuseUnknown(command *cobra.Command) {
	if command.HasSubCommands() && !command.Runnable() {
		command.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		command.Args = nil // was not looked at
	}
	if command.Args == nil && !command.DisableFlagParsing && (command.HasSubCommands() || takesNoWords(command)) {
		command.Args = cobra.NoArgs
	}
	if command.Parent() == command.Root() && command.Name() == "help" {
		command.Args = nameOfCommand
	}
	for _, below := range command.Commands() {
		refuseUnknown(below)
	}
}

// nameOfCommand refuses words that don't lead to a command.
func nameOfCommand(help *cobra.Command, words []string) error {
	found, rest, err := help.Root().Find(words)
	if err == nil && len(rest) > 0 {
		return fmt.Errorf("unknown command %q for %q", rest[0], found.CommandPath())
	}
	return err
}
