package rest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// gzipThreshold is the size from which an answer is compressed for those who take it so.
const gzipThreshold = 128 << 10

// write answers with an object.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, f format, code int, obj runtime.Object) {
	body := newBody(w, r, f.contentType(), code)
	if err := f.encoder.Encode(obj, body); err != nil {
		h.logger.Warn("an answer was not sent whole", "path", r.URL.Path, "error", err)
		if !body.begun {
			h.fail(w, r, apierrors.NewInternalError(err))
			return
		}
	}
	if err := body.Close(); err != nil {
		h.logger.Debug("an answer was not sent whole", "path", r.URL.Path, "error", err)
	}
}

func (f format) contentType() string { return f.media }

// fail answers with an error, as a Status.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	if d := status.Details; d != nil && d.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(d.RetryAfterSeconds)))
	}
	f, negotiation := negotiate(r, false)
	if negotiation != nil {
		f = newFormat(mediaTypes[0], false)
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(int(status.Code))
		return
	}
	body := newBody(w, r, f.contentType(), int(status.Code))
	if err := errors.Join(f.encoder.Encode(status, body), body.Close()); err != nil {
		h.logger.Debug("an error was not sent", "path", r.URL.Path, "error", err)
	}
}

// statusOf gives an error the form that clients understand.
func statusOf(err error) *metav1.Status {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	if status.Status == "" {
		status.Status = metav1.StatusFailure
	}
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
	}
	return &status
}

// body gathers an answer until it is known whether it is large enough to be worth compressing.
type body struct {
	w     http.ResponseWriter
	code  int
	gzip  bool
	held  *bytes.Buffer
	zip   *gzip.Writer
	begun bool // headers are sent
}

var (
	buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
	zippers = sync.Pool{New: func() any {
		zip, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil { // the level is a valid one
			panic(err)
		}
		return zip
	}}
)

func newBody(w http.ResponseWriter, r *http.Request, contentType string, code int) *body {
	w.Header().Set("Content-Type", contentType)
	w.Header().Add("Vary", "Accept-Encoding")
	return &body{w: w, code: code, gzip: takesGzip(r), held: buffers.Get().(*bytes.Buffer)}
}

func takesGzip(r *http.Request) bool {
	for _, encoding := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		if name, quality, _ := strings.Cut(strings.TrimSpace(encoding), ";"); name == "gzip" && strings.TrimSpace(quality) != "q=0" {
			return true
		}
	}
	return false
}

// Write implements io.Writer.
func (b *body) Write(p []byte) (int, error) {
	if !b.begun {
		if b.held.Len()+len(p) < gzipThreshold {
			return b.held.Write(p)
		}
		if err := b.begin(); err != nil {
			return 0, err
		}
	}
	return b.sink().Write(p)
}

func (b *body) sink() io.Writer {
	if b.zip != nil {
		return b.zip
	}
	return b.w
}

// begin sends the headers and what was held back: from now on the answer streams.
func (b *body) begin() error {
	b.begun = true
	if b.gzip {
		b.w.Header().Set("Content-Encoding", "gzip")
		b.zip = zippers.Get().(*gzip.Writer)
		b.zip.Reset(b.w)
	}
	b.w.WriteHeader(b.code)
	_, err := b.sink().Write(b.held.Bytes())
	return err
}

// Close sends what is left.
func (b *body) Close() error {
	defer func() {
		b.held.Reset()
		buffers.Put(b.held)
	}()
	if !b.begun {
		b.begun = true
		b.w.Header().Set("Content-Length", strconv.Itoa(b.held.Len()))
		b.w.WriteHeader(b.code)
		_, err := b.w.Write(b.held.Bytes())
		return err
	}
	if b.zip == nil {
		return nil
	}
	err := b.zip.Close()
	zippers.Put(b.zip)
	return err
}
