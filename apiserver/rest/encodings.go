package rest

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
)

// encodedBytes bounds what the encodings keep.
const encodedBytes = 32 << 20

// encodings shares the encoded form of the objects that watches have lately sent.
//
//  1. An object is known by its pointer: shared objects are never written to, and one that is kept here
//     can't have its address taken by another.
//  2. What is kept is bounded by its bytes; the oldest goes first, and is encoded again if need be.
type encodings struct {
	limit int

	mu    sync.Mutex
	known map[encodingKey]*encoding
	order []encodingKey // oldest first
	bytes int
}

type encodingKey struct {
	object runtime.Object
	media  string
}

type encoding struct {
	once sync.Once
	data []byte
	err  error
}

func newEncodings(limit int) *encodings {
	return &encodings{limit: limit, known: map[encodingKey]*encoding{}}
}

// of gives an object's encoding, which must not be written to. Of those who ask at one time, one encodes.
func (e *encodings) of(obj runtime.Object, f format) ([]byte, error) {
	key := encodingKey{obj, f.media}
	e.mu.Lock()
	entry, ok := e.known[key]
	if !ok {
		entry = &encoding{}
		e.known[key] = entry
	}
	e.mu.Unlock()
	entry.once.Do(func() {
		entry.data, entry.err = encoded(f, obj)
		e.keep(key, len(entry.data))
	})
	return entry.data, entry.err
}

// keep counts an entry that has its data and drops the oldest while there are too many bytes.
func (e *encodings) keep(key encodingKey, size int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.order = append(e.order, key)
	e.bytes += size
	for e.bytes > e.limit && len(e.order) > 1 {
		oldest := e.order[0]
		e.order[0] = encodingKey{}
		e.order = e.order[1:]
		e.bytes -= len(e.known[oldest].data)
		delete(e.known, oldest)
	}
}
