// Package traffic asks a cluster all the time, as many different clients do, and records what they asked and what they saw.
package traffic

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Op is one request of a client, and what came of it. Times count from the begin of the history.
type Op struct {
	Client, Member int
	// Life is the number of the run of the member's process that answered; -1: it changed meanwhile.
	Life         int64
	Call, Return time.Duration
	Request      proto.Message
	Response     proto.Message // nil: there was none
	Err          error
}

// Outcome is what a client knows of its request.
type Outcome int

const (
	// Done requests have an answer.
	Done Outcome = iota
	// Refused ones have changed nothing, and never will.
	Refused
	// Unknown ones may have taken effect, or may yet.
	Unknown
)

// Outcome is what the client knows after the answer that it got.
func (o *Op) Outcome() Outcome {
	if o.Err == nil {
		return Done
	}
	switch status.Code(o.Err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.NotFound, codes.OutOfRange, codes.ResourceExhausted, codes.AlreadyExists,
		codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
		return Refused
	}
	return Unknown
}

// Revision is that of the answer's header; 0: there is none.
func (o *Op) Revision() int64 {
	if with, ok := o.Response.(interface{ GetHeader() *pb.ResponseHeader }); ok && o.Err == nil {
		return with.GetHeader().GetRevision()
	}
	return 0
}

// String says all of an operation in a line.
func (o *Op) String() string {
	answer := fmt.Sprint(o.Response)
	if o.Err != nil {
		answer = "error: " + o.Err.Error()
	}
	return fmt.Sprintf("%9.4f to %9.4f s, client %d at m%d (run %d): %T{%v}: %s",
		o.Call.Seconds(), o.Return.Seconds(), o.Client, o.Member+1, o.Life, o.Request, o.Request, shorten(answer))
}

func shorten(text string) string {
	const most = 600
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// History is all that was seen in a round of traffic.
type History struct {
	// Prefix begins all keys of the round; no key was there before.
	Prefix string
	Begun  time.Time
	// Start is a revision before the round's first write, Last that of its last one.
	Start, Last int64
	// Many is how many keys are deleted in one revision now and then.
	Many    int
	Ops     []*Op
	Watches []*Watch
	Leases  []*Lease

	mu        sync.Mutex
	snapshots atomic.Int64
}

// Snapshots is how many snapshots of the store were taken.
func (h *History) Snapshots() int64 { return h.snapshots.Load() }

// Now is the time since the history began.
func (h *History) Now() time.Duration { return time.Since(h.Begun) }

func (h *History) add(ops ...*Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Ops = append(h.Ops, ops...)
}

func (h *History) addLease(l *Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Leases = append(h.Leases, l)
}

// Sort orders the operations by their calls. No client may run any more.
func (h *History) Sort() {
	slices.SortStableFunc(h.Ops, func(a, b *Op) int { return int(a.Call - b.Call) })
}

// Count is how many operations came out in which way.
func (h *History) Count() map[Outcome]int {
	counts := map[Outcome]int{}
	for _, o := range h.Ops {
		counts[o.Outcome()]++
	}
	return counts
}
