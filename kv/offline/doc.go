// Package offline is what works on a store that is not open: ImportEtcd and LiveImport make one of an etcd's data, Adopt makes one
// the beginning of a new group, and Backup reads a copy.
package offline
