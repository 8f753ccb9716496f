package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ErrNoLogs says that there is no log of what was asked for.
var ErrNoLogs = errors.New("no logs")

// LogSource gives the logs of containers.
type LogSource interface {
	// Logs writes a container's log to w until its end, or until ctx ends when it is followed. An error that
	// wraps ErrNoLogs came before anything was written. A log that is followed begins with a write of nothing: there may be
	// no line for hours, and who asked must learn that there is a log.
	Logs(ctx context.Context, namespace, pod, container string, opts *corev1.PodLogOptions, w http.ResponseWriter) error
}

func serveLogs(w http.ResponseWriter, r *http.Request, source LogSource) {
	opts, err := logOptions(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := &flushing{ResponseWriter: w}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	err = source.Logs(r.Context(), r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"), opts, out)
	if err == nil || r.Context().Err() != nil {
		return
	}
	if out.begun {
		fmt.Fprintf(w, "\nthe log ends here: %v\n", err)
		return
	}
	status := http.StatusInternalServerError
	if errors.Is(err, ErrNoLogs) {
		status = http.StatusBadRequest
	}
	http.Error(w, err.Error(), status)
}

// logOptions reads the query, in which names and meanings are those of the API's own log request.
func logOptions(query url.Values) (*corev1.PodLogOptions, error) {
	opts := &corev1.PodLogOptions{}
	for name, into := range map[string]*bool{"follow": &opts.Follow, "previous": &opts.Previous, "timestamps": &opts.Timestamps} {
		if text := query.Get(name); text != "" {
			value, err := strconv.ParseBool(text)
			if err != nil {
				return nil, fmt.Errorf("%s=%q is neither true nor false", name, text)
			}
			*into = value
		}
	}
	for name, into := range map[string]**int64{"tailLines": &opts.TailLines, "sinceSeconds": &opts.SinceSeconds, "limitBytes": &opts.LimitBytes} {
		if text := query.Get(name); text != "" {
			value, err := strconv.ParseInt(text, 10, 64)
			if err != nil || value < 0 {
				return nil, fmt.Errorf("%s=%q is not a number of 0 or more", name, text)
			}
			*into = &value
		}
	}
	if text := query.Get("stream"); text != "" {
		opts.Stream = &text
	}
	if text := query.Get("sinceTime"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, fmt.Errorf("sinceTime=%q is not a time of the form 2006-01-02T15:04:05Z", text)
		}
		since := metav1.NewTime(at)
		opts.SinceTime = &since
	}
	if opts.SinceTime != nil && opts.SinceSeconds != nil {
		return nil, errors.New("only one of sinceTime and sinceSeconds can be given")
	}
	if s := opts.Stream; s != nil && *s != corev1.LogStreamAll && *s != corev1.LogStreamStdout && *s != corev1.LogStreamStderr {
		return nil, fmt.Errorf("stream=%q is none of All, Stdout and Stderr", *s)
	}
	return opts, nil
}

// flushing sends each piece of a log on its way at once.
type flushing struct {
	http.ResponseWriter
	begun bool
}

// readerPatience is how long a piece may take to be taken: longer than the API server waits for its own reader.
const readerPatience = 2 * time.Minute

func (f *flushing) Write(p []byte) (int, error) {
	f.begun = true
	control := http.NewResponseController(f.ResponseWriter)
	// The deadline is for this piece: one that stands while there is nothing to write would end the stream.
	_ = control.SetWriteDeadline(time.Now().Add(readerPatience)) // where there are deadlines
	n, err := f.ResponseWriter.Write(p)
	if err == nil {
		err = control.Flush()
		if errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	if err == nil {
		_ = control.SetWriteDeadline(time.Time{})
	}
	return n, err
}
