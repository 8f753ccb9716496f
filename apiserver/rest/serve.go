package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/patience"
	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/supervise"
)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	out := &observed{Writer: patience.Writer{ResponseWriter: w, Patience: h.opts.Patience}}
	defer out.end()
	h.bodies.Bound(out, r)
	call := h.parse(r)
	defer func() {
		failure := recover()
		aborted := failure == http.ErrAbortHandler
		if failure != nil && !aborted {
			_ = supervise.Caught("rest", h.logger, failure)
			if aborted = out.code != 0; !aborted {
				h.fail(out, r, apierrors.NewInternalError(errors.New("the server met a fault of its own; its log tells more")))
			}
		}
		h.metrics.observe(call, out.code, time.Since(begun))
		h.logger.Debug("request", "verb", call.verb, "path", r.URL.Path, "code", out.code, "took", time.Since(begun), "user", call.user, "client", r.RemoteAddr)
		if aborted { // an answer that was begun must not look whole
			panic(http.ErrAbortHandler)
		}
	}()
	h.serve(out, r, call)
}

// call is a request as it was understood.
type call struct {
	target target
	known  bool // the path names a resource that there is
	verb   string
	user   string
	body   []byte // of a request that takes one, once the request is served
}

// takesBody tells whether what the client sends is looked at.
func (c *call) takesBody() bool {
	return c.known && slices.Contains(verbsOf(c.target), c.verb) && slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, c.verb)
}

// streams tells whether the call lasts as long as its client wants.
func (c *call) streams(r *http.Request) bool {
	return c.verb == "watch" || c.target.subresource == logSubresource && r.Method == http.MethodGet
}

func (h *Handler) parse(r *http.Request) *call {
	t, ok := parsePath(r.URL.Path)
	c := &call{target: t, verb: strings.ToLower(r.Method)}
	if ok && h.serves(t) {
		c.verb, c.known = verbOf(r, t), true
	}
	return c
}

// verbOf is the verb of a request for a resource; the method's name when there is none for it.
func verbOf(r *http.Request, t target) string {
	collection := t.name == ""
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch {
		case wantsWatch(r) && t.subresource == "":
			return "watch"
		case collection:
			return "list"
		}
		return "get"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if collection {
			return "deletecollection"
		}
		return "delete"
	}
	return strings.ToLower(r.Method)
}

func wantsWatch(r *http.Request) bool {
	values, ok := r.URL.Query()["watch"]
	return ok && (len(values) == 0 || values[0] != "false" && values[0] != "0")
}

// serve is the chain that every request goes through.
func (h *Handler) serve(w *observed, r *http.Request, c *call) {
	user, err := auth.Request(h.opts.Authenticator, r)
	if err != nil {
		h.refuse(w, r, c, err)
		return
	}
	c.user = user.Name
	slot := &h.reads
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		slot = &h.writes
	}
	streams := c.streams(r)
	if !streams {
		w.Limit = h.opts.Timeout
		if c.takesBody() {
			if c.body, err = h.bodies.Read(w, r); err != nil {
				h.fail(w, r, bodyError(err))
				return
			}
		}
		if !slot.enter() {
			h.fail(w, r, apierrors.NewTooManyRequests("too many requests are in flight, please try again later", 1))
			return
		}
		w.holds(slot, h.readers)
	}
	ctx := auth.WithUser(r.Context(), user)
	ctx = registry.WithWarnings(ctx, func(text string) { warn(w, text) })
	if !streams {
		limit, err := h.timeout(r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	r = r.WithContext(ctx)
	if c.known {
		h.serveResource(w, r, c)
		return
	}
	h.servePath(w, r)
}

// refuse answers a request of nobody's, or of somebody who wants to be another.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, c *call, err error) {
	if known := apierrors.APIStatus(nil); errors.As(err, &known) {
		if c.known {
			h.fail(w, r, err)
			return
		}
		// Discovery comes first, and there Kubernetes' clients show an error's text, but no Status.
		http.Error(w, err.Error(), int(known.Status().Code))
		return
	}
	var rejected *auth.RejectedError
	if errors.As(err, &rejected) {
		h.logger.Warn("credentials were refused", "client", r.RemoteAddr, "cause", rejected.Cause)
	}
	h.fail(w, r, apierrors.NewUnauthorized("Unauthorized: "+err.Error()))
}

// servePath answers what is not a resource.
func (h *Handler) servePath(w http.ResponseWriter, r *http.Request) {
	if err := h.objects.AuthorizePath(r.Context(), strings.ToLower(r.Method), r.URL.Path); err != nil {
		h.fail(w, r, err)
		return
	}
	serve := h.route(r.URL.Path)
	switch {
	case serve == nil:
		h.fail(w, r, h.nothingAt(r.URL.Path))
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.methodNotAllowed(w, r, "GET, HEAD")
	default:
		serve(w, r)
	}
}

// timeout is how long a request may take: less than the server's limit when the client says so.
func (h *Handler) timeout(r *http.Request) (time.Duration, error) {
	text := r.URL.Query().Get("timeout")
	if text == "" {
		return h.opts.Timeout, nil
	}
	asked, err := time.ParseDuration(text)
	if err != nil || asked < 0 {
		return 0, badRequest("invalid timeout specified in the request URL: %q is not a time such as 30s", text)
	}
	if asked == 0 {
		return h.opts.Timeout, nil
	}
	return min(asked, h.opts.Timeout), nil
}

func (h *Handler) methodNotAllowed(w http.ResponseWriter, r *http.Request, allowed string) {
	w.Header().Set("Allow", allowed)
	h.fail(w, r, &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusMethodNotAllowed, Reason: metav1.StatusReasonMethodNotAllowed,
		Message: fmt.Sprintf("the server does not allow this method on the requested resource: %s is not one of %s", r.Method, allowed),
		Details: &metav1.StatusDetails{},
	}})
}

func badRequest(text string, args ...any) error {
	return apierrors.NewBadRequest(fmt.Sprintf(text, args...))
}

// warn tells the client something that is not an error.
func warn(w http.ResponseWriter, text string) {
	if header, err := utilnet.NewWarningHeader(299, "-", text); err == nil {
		w.Header().Add("Warning", header)
	}
}
