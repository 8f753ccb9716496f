// Command kube-apiserver is Kubernetes' own API server, as its module has it: the test beside it runs it on the store in
// etcd's place. It is a module of its own, because Kubernetes' dependencies are not this project's.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(app.NewAPIServerCommand())) }
