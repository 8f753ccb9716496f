// Package examples holds manifests to try a cluster with.
package examples

import _ "embed"

// Web is a Deployment of three replicas and its Service, from an image that every node has.
//
//go:embed web.yaml
var Web []byte
