// Package api holds the wire contracts: the project's own protobuf services and the table of objects.
package api

//go:generate ../hack/generate-protobuf
