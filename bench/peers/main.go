// Command peers is the etcd server that ctlplane's benchmarks are compared with, built from etcd's own
// module so that both systems run on one machine in one run. It takes etcd's flags and ETCD_ variables.
//
// It is a Go module of its own: nothing of etcd's server is linked into ctlplane.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
