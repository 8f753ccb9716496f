// Package migrate takes a running etcd over without stopping those who write to it: it copies the etcd while it passes its
// clients' calls on to it, holds the calls for a moment, and goes on as the member of a cluster that begins with the copy.
// Decision 13 says why it is made so.
//
//	Source    the etcd: what is read of it, and how its changes are followed
//	Plan      what would be done, for a dry run
//	front     the client port before the member is there: passes calls on
//	router    says where calls go, and holds them
//	migration the whole of it, from the snapshot to the step
//	late      what is written to the etcd after the step
//	control   the socket by which the step is asked for
package migrate
