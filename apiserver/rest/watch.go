package rest

import (
	"bytes"
	"encoding/binary"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/apiserver/registry"
)

// watch streams events.
func (x *exchange) watch() {
	var opts metav1.ListOptions
	if err := x.options(&opts); err != nil {
		x.fail(x.w, x.r, err)
		return
	}
	if x.format.media == registry.MediaYAML {
		x.fail(x.w, x.r, notAcceptable())
		return
	}
	t := x.call.target
	w, err := x.objects.Watch(x.r.Context(), t.GroupVersionResource, t.namespace, opts)
	if err != nil {
		x.fail(x.w, x.r, err)
		return
	}
	defer w.Stop()
	x.metrics.longRunning.Add(1)
	defer x.metrics.longRunning.Add(-1)
	x.w.Header().Set("Content-Type", x.streamType())
	x.w.Header().Set("Cache-Control", "no-cache, private")
	x.w.WriteHeader(http.StatusOK)
	s := &stream{exchange: x, control: http.NewResponseController(x.w)}
	if s.flush() != nil || x.r.Method == http.MethodHead {
		return
	}
	s.run(w)
}

func (x *exchange) streamType() string {
	if x.format.media == registry.MediaProtobuf {
		return registry.MediaProtobuf + ";stream=watch"
	}
	return x.format.media
}

// stream writes a watch's events.
type stream struct {
	*exchange
	control *http.ResponseController
	tables  int // that were sent: only the first one tells its columns
}

// run writes events until the watch ends or its reader doesn't take them. It flushes when there is
// nothing more to write.
func (s *stream) run(w watch.Interface) {
	events := w.ResultChan()
	for ev := range events {
		if s.event(ev) != nil {
			return
		}
		for more := true; more; {
			select {
			case ev, ok := <-events:
				if !ok {
					_ = s.flush() // the reader is told the end by the end itself
					return
				}
				if s.event(ev) != nil {
					return
				}
			default:
				more = false
			}
		}
		if s.flush() != nil {
			return
		}
	}
}

func (s *stream) flush() error { return s.control.Flush() }

func (s *stream) event(ev watch.Event) error {
	frame, err := s.frame(ev)
	if err != nil {
		s.logger.Warn("a watch ends: an event can't be written", "path", s.r.URL.Path, "error", err)
		return err
	}
	_, err = s.w.Write(frame)
	return err
}

// frame is an event as it goes over the wire.
func (s *stream) frame(ev watch.Event) ([]byte, error) {
	data, err := s.encode(ev)
	if err != nil {
		return nil, err
	}
	if s.format.media == registry.MediaProtobuf {
		message := metav1.WatchEvent{Type: string(ev.Type), Object: runtime.RawExtension{Raw: data}}
		frame := make([]byte, 4+message.Size())
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		_, err := message.MarshalTo(frame[4:])
		return frame, err
	}
	data = bytes.TrimSuffix(data, []byte("\n"))
	frame := make([]byte, 0, len(data)+len(ev.Type)+32)
	frame = append(frame, `{"type":"`...)
	frame = append(frame, ev.Type...)
	frame = append(frame, `","object":`...)
	frame = append(frame, data...)
	return append(frame, '}', '\n'), nil
}

// encode gives the event's object as the client asked for it. Whole objects are encoded once for all
// watches that send them.
func (s *stream) encode(ev watch.Event) ([]byte, error) {
	plain := ev.Type == watch.Error || s.format.shape == whole
	if plain && (ev.Type == watch.Added || ev.Type == watch.Modified || ev.Type == watch.Deleted) && !s.format.pretty {
		return s.encodings.of(ev.Object, s.format)
	}
	obj := ev.Object
	if !plain {
		var err error
		if obj, err = s.reshape(s.r, s.format, s.info, obj); err != nil {
			return nil, err
		}
	}
	if table, ok := obj.(*metav1.Table); ok {
		s.trim(table, ev.Type)
	}
	return encoded(s.format, obj)
}

// trim leaves out of a table what the reader has, or can't use.
func (s *stream) trim(table *metav1.Table, kind watch.EventType) {
	if s.tables > 0 {
		table.ColumnDefinitions = nil
	}
	s.tables++
	if kind == watch.Bookmark {
		for i := range table.Rows {
			table.Rows[i].Cells = nil
		}
	}
}

func encoded(f format, obj runtime.Object) ([]byte, error) {
	var b bytes.Buffer
	err := f.encoder.Encode(obj, &b)
	return b.Bytes(), err
}
