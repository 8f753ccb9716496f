// Package watch is etcd's Watch service over the store's streams of events: one stream of a client carries many watches, which
// it creates and cancels in requests, and whose events, progress and ends it is sent.
//
// What a client is promised: each creation is answered once; no event of a watch is sent before its creation is answered or
// after its end was; events come in the order of their revisions, none missing and none twice, also when the store is
// replaced by another state; progress is never ahead of what was sent. How it is kept stands above stream.
//
// A stream has two goroutines, its handler and a sender that the handler waits for, and one more that reads requests, which
// gRPC ends. Everything else is for one of the two, or under the stream's lock.
package watch

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

// Store opens streams of events.
type Store interface {
	NewWatchStream() *kv.WatchStream
	// ResumeWatchStream takes over the watches of a stream that has ended with kv.ErrClosed, each where it was.
	ResumeWatchStream(ctx context.Context, ended *kv.WatchStream) (*kv.WatchStream, error)
	// Header is the header of a response that is made now: who answers, at which revision of its own, in which term.
	Header() *pb.ResponseHeader
}

// Permit tells whether the caller of ctx may watch a range, and gives what tells later whether he still may.
type Permit func(ctx context.Context, key, rangeEnd []byte) (Permission, error)

// Permission is by what a watch was permitted.
type Permission interface {
	// Check tells whether the watch may go on: an error ends it, before it is sent anything more. It is asked before every
	// message with events.
	Check() error
}
