package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/blang/semver/v4"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/ctlplane/ctlplane/apiserver/auth"
)

// Check is one thing that has to be well.
type Check struct {
	// Name is a word that stands in paths, such as "raft".
	Name string
	// Check answers what is wrong. It must not outlast its context.
	Check func(ctx context.Context) error
	// Advisory checks are shown, and asked for by name, but what they find is no reason to send requests elsewhere.
	Advisory bool
}

// checkTimeout bounds all checks of one request.
const checkTimeout = 5 * time.Second

var ping = Check{Name: "ping", Check: func(context.Context) error { return nil }}

func (h *Handler) liveChecks() []Check { return append([]Check{ping}, h.opts.LiveChecks...) }

func (h *Handler) readyChecks() []Check {
	cache := Check{Name: "object-cache", Check: func(context.Context) error {
		if !h.objects.Ready() {
			return errors.New("the objects are still being loaded")
		}
		return nil
	}}
	return append([]Check{ping, cache}, h.opts.ReadyChecks...)
}

// serveHealth runs checks: all of them, less those that the query excludes, or the one that the path names. Somebody unknown
// isn't told why one failed.
func (h *Handler) serveHealth(name string, checks func() []Check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		selected := checks()
		if one := strings.Trim(strings.TrimPrefix(r.URL.Path, "/"+name), "/"); one != "" {
			i := slices.IndexFunc(selected, func(c Check) bool { return c.Name == one })
			if i < 0 {
				h.fail(w, r, notFoundPath())
				return
			}
			selected = selected[i : i+1]
		}
		reason := error.Error
		if user, _ := auth.UserFrom(ctx); user.In(auth.GroupUnauthenticated) {
			reason = func(error) string { return "reason withheld" }
		}
		report, healthy := runChecks(ctx, name, selected, r.URL.Query()["exclude"], reason)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, verbose := r.URL.Query()["verbose"]
		switch {
		case !healthy:
			w.WriteHeader(http.StatusInternalServerError)
		case !verbose:
			report = []byte("ok")
		}
		_, _ = w.Write(report) // a client that has gone away has nothing to be told
	}
}

func runChecks(ctx context.Context, name string, checks []Check, exclude []string, reason func(error) string) (report []byte, healthy bool) {
	var b bytes.Buffer
	healthy = true
	for _, check := range checks {
		if slices.Contains(exclude, check.Name) {
			fmt.Fprintf(&b, "[+]%s excluded: ok\n", check.Name)
			continue
		}
		if err := check.Check(ctx); err != nil {
			if check.Advisory && len(checks) > 1 {
				fmt.Fprintf(&b, "[-]%s failed, which does not count here: %s\n", check.Name, reason(err))
				continue
			}
			healthy = false
			fmt.Fprintf(&b, "[-]%s failed: %s\n", check.Name, reason(err))
			continue
		}
		fmt.Fprintf(&b, "[+]%s ok\n", check.Name)
	}
	verdict := "passed"
	if !healthy {
		verdict = "failed"
	}
	fmt.Fprintf(&b, "%s check %s\n", name, verdict)
	return b.Bytes(), healthy
}

// serveVersion tells the version of the API that the server follows.
func (h *Handler) serveVersion(w http.ResponseWriter, r *http.Request) {
	info := apiversion.Info{
		GitVersion: h.opts.GitVersion, GitTreeState: "clean",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if v, err := semver.ParseTolerant(h.opts.GitVersion); err == nil {
		info.Major, info.Minor = fmt.Sprint(v.Major), fmt.Sprint(v.Minor)
	}
	writeJSON(w, r, info)
}

// serveRoot lists the paths that there are.
func (h *Handler) serveRoot(w http.ResponseWriter, r *http.Request) {
	paths := []string{"/openapi/v2", "/openapi/v3"}
	for path := range h.paths {
		if path != "/" {
			paths = append(paths, path)
		}
	}
	for gv := range h.discovery.lists {
		if gv.Group == "" {
			paths = append(paths, "/api/"+gv.Version)
		} else {
			paths = append(paths, "/apis/"+gv.Group, "/apis/"+gv.Group+"/"+gv.Version)
		}
	}
	for _, check := range h.readyChecks() {
		paths = append(paths, "/readyz/"+check.Name)
	}
	for _, check := range h.liveChecks() {
		paths = append(paths, "/livez/"+check.Name)
	}
	slices.Sort(paths)
	writeJSON(w, r, map[string][]string{"paths": paths})
}

func writeJSON(w http.ResponseWriter, r *http.Request, v any) {
	body := newBody(w, r, "application/json", http.StatusOK)
	encoder := json.NewEncoder(body)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err == nil {
		_ = body.Close() // a client that has gone away has nothing to be told
	}
}
