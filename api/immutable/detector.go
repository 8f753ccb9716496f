// Package immutable notices, in tests, that an object was changed which many share.
//
// What a cache or an informer holds is read by everybody at once. Whoever changes it makes others see what
// nobody wrote, or ends the process when two touch one map. The detector makes such a change the failure of
// the test in which it happens, whether or not anybody was hurt by it.
//
// It is on in every test binary, and in a process whose environment has CTLPLANE_MUTATION_DETECTOR=1. Where it
// is off, which CTLPLANE_MUTATION_DETECTOR=0 does for a test binary too, it costs nothing.
package immutable

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"
	"weak"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
)

// Variable is the environment variable that turns the detector on and off.
const Variable = "CTLPLANE_MUTATION_DETECTOR"

const (
	batch  = 128                    // objects that are looked at in one go
	idle   = 9                      // how much longer than that takes the detector rests before it goes on
	pause  = 100 * time.Millisecond // between two rounds, at least
	shown  = 10                     // changed objects that a report describes
	secret = "(what a Secret holds is not shown)"
)

// process is the detector of this process; nil when it is off.
var process = func() *detector {
	if value := os.Getenv(Variable); value == "0" || value == "" && !testing.Testing() {
		return nil
	}
	d := &detector{subjects: map[weak.Pointer[byte]]*subject{}}
	go d.run()
	return d
}()

// Enabled tells whether the detector is on.
func Enabled() bool { return process != nil }

// Watch has obj, which many are going to share from here on, looked at until nobody holds it any more. The
// process ends with a report of what has changed when it is found changed.
func Watch(obj runtime.Object) {
	if process != nil {
		process.watch(obj)
	}
}

// Check looks at all objects at once. Tests call it at their end, for what was changed only just now.
func Check() error {
	if process == nil {
		return nil
	}
	return process.check()
}

// detector remembers what shared objects were like.
//
//  1. It keeps no object alive: one that is gone is forgotten.
//  2. It takes a tenth of one CPU at most, whatever the number of objects.
type detector struct {
	mu       sync.Mutex
	subjects map[weak.Pointer[byte]]*subject
}

// subject is one object, and what it was like when it came.
type subject struct {
	address weak.Pointer[byte]
	kind    reflect.Type // of what is at the address
	was     runtime.Object
}

func (d *detector) watch(obj runtime.Object) {
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return
	}
	address := weak.Make((*byte)(v.UnsafePointer()))
	d.mu.Lock()
	_, known := d.subjects[address]
	d.mu.Unlock()
	if known {
		return
	}
	s := &subject{address: address, kind: v.Type().Elem(), was: obj.DeepCopyObject()}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.subjects[address]; !known {
		d.subjects[address] = s
	}
}

// run looks at all objects in rounds.
func (d *detector) run() {
	for {
		time.Sleep(pause)
		all := d.all()
		for len(all) > 0 {
			n := min(batch, len(all))
			begun := time.Now()
			for _, s := range all[:n] {
				if d.changed(s) != nil {
					if err := d.check(); err != nil {
						panic(err)
					}
				}
			}
			all = all[n:]
			time.Sleep(idle * time.Since(begun))
		}
	}
}

func (d *detector) all() []*subject {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*subject, 0, len(d.subjects))
	for _, s := range d.subjects {
		all = append(all, s)
	}
	return all
}

// changed gives the object as it is now, if it is not what it was. One that is gone is forgotten.
func (d *detector) changed(s *subject) runtime.Object {
	p := s.address.Value()
	if p == nil {
		d.mu.Lock()
		delete(d.subjects, s.address)
		d.mu.Unlock()
		return nil
	}
	now := reflect.NewAt(s.kind, unsafe.Pointer(p)).Interface().(runtime.Object)
	if reflect.DeepEqual(now, s.was) {
		return nil
	}
	return now
}

// check reports all objects that have changed.
func (d *detector) check() error {
	var report strings.Builder
	count := 0
	for _, s := range d.all() {
		now := d.changed(s)
		if now == nil {
			continue
		}
		if count++; count <= shown {
			fmt.Fprintf(&report, "\n%s\n%s", name(s.was), difference(s.was, now))
		}
	}
	if count == 0 {
		return nil
	}
	return fmt.Errorf("%d objects that a cache or an informer holds were changed: make a deep copy before you write; - is what was there, + what is%s", count, &report)
}

// name says which object it is.
func name(obj runtime.Object) string {
	kind := strings.TrimPrefix(fmt.Sprintf("%T", obj), "*")
	m, err := meta.Accessor(obj)
	if err != nil {
		return kind
	}
	return fmt.Sprintf("%s %s/%s at resource version %s", kind, m.GetNamespace(), m.GetName(), m.GetResourceVersion())
}

func difference(was, now runtime.Object) string {
	if _, ok := was.(*corev1.Secret); ok {
		return secret
	}
	return diff.Diff(was, now)
}
