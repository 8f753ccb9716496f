// Package etcdconfig reads etcd's configuration (its flags, its ETCD_ variables, its file) and makes a master's of it.
//
// Every flag of etcd v3.7 is known here. One that has a meaning for this store works; one that has none is taken with a
// warning that says why, so that a command line need not be changed to be used here; one that etcd does not know is
// refused. Where a file is given, flags and variables are ignored, as by etcd.
package etcdconfig
