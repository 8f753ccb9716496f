package main

import (
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3/command"
)

// newKV is `ctlplane kv`: etcdctl's own commands and flags about keys, pointed at this cluster.
func newKV() *cobra.Command {
	kv := &cobra.Command{
		Use:     "kv",
		Short:   "Read, write and watch keys, with etcdctl's commands and flags",
		GroupID: groupStore,
		Example: `  ctlplane kv put greeting hello
  ctlplane kv get --prefix gree
  ctlplane kv watch --prefix gree
  ctlplane kv txn --interactive
  ctlplane kv --endpoints 10.0.0.1:2379 --insecure-transport lease grant 60`,
	}
	compaction := command.NewCompactionCommand()
	compaction.Aliases = append(compaction.Aliases, "compact")
	for _, verb := range []*cobra.Command{
		command.NewGetCommand(), command.NewPutCommand(), command.NewDelCommand(), command.NewTxnCommand(),
		command.NewWatchCommand(), command.NewLeaseCommand(), compaction,
	} {
		verb.GroupID = ""
		rename(verb, "etcdctl ", "ctlplane kv ")
		kv.AddCommand(verb)
	}
	asStoreVerb(kv)
	return kv
}
