package rpc

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ctlplane/ctlplane/api/objectpb"
)

// maxEncodedBytes bounds what the encodings keep.
const maxEncodedBytes = 16 << 20

// encodings shares the encoded form of recent objects among watches.
//
//  1. Objects are told apart by their pointers, which is sound because nobody writes to a shared
//     object, and a pointer that is kept here can't come to mean another object.
//  2. Each object is encoded once, by the first watch that needs it; the others wait for that.
//  3. Kept are the newest objects, up to a number of encoded bytes; an old one is just encoded again.
type encodings struct {
	limit int

	mu    sync.Mutex
	known map[runtime.Object]*encoding
	order []*encoding // oldest first
	bytes int
}

type encoding struct {
	object runtime.Object
	once   sync.Once
	data   []byte
	err    error
	size   int // counted in encodings.bytes
}

func newEncodings(limit int) *encodings {
	return &encodings{limit: limit, known: map[runtime.Object]*encoding{}}
}

// of gives obj's encoding, which the caller must not write to.
func (e *encodings) of(obj runtime.Object) ([]byte, error) {
	e.mu.Lock()
	entry, ok := e.known[obj]
	if !ok {
		entry = &encoding{object: obj}
		e.known[obj] = entry
		e.order = append(e.order, entry)
	}
	e.mu.Unlock()
	entry.once.Do(func() {
		entry.data, entry.err = objectpb.EncodeObject(obj)
		e.account(entry)
	})
	return entry.data, entry.err
}

// account counts an entry that has been encoded, and lets go of the oldest ones while there are too many bytes.
func (e *encodings) account(entry *encoding) {
	e.mu.Lock()
	defer e.mu.Unlock()
	const overhead = 128 // of an entry beside its data
	entry.size = len(entry.data) + overhead
	e.bytes += entry.size
	for e.bytes > e.limit && len(e.order) > 1 {
		oldest := e.order[0]
		if oldest.size == 0 {
			return // still being encoded: it is accounted for, and the limit held, by who does that
		}
		e.order[0] = nil
		e.order = e.order[1:]
		e.bytes -= oldest.size
		delete(e.known, oldest.object)
	}
}
