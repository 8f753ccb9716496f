package web

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ctlplane/ctlplane/apiserver/auth"
)

// Access says which pages of browsers may call the port, and by which names it may be called. Programs are not kept out by it:
// it protects users from what their browsers could be made to do.
type Access struct {
	// CORS are the origins whose pages may read answers; "*" is all, and so is an empty list.
	CORS []string
	// Hosts are the names by which the port may be called in plain text; "*" is all, and so is an empty list. A page that
	// has made its own name point here (DNS rebinding) calls by that.
	Hosts []string
	// RefusesCommonName tells whether the caller's certificate would name a user of the store, were it not that the gateway can't
	// pass it on; then a call that shows one is refused rather than taken for somebody else's. Nil: never.
	RefusesCommonName func() bool
}

// guard looks at a request before next does.
func (a Access) guard(next http.Handler, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The gateway's paths before etcd 3.4.
		if rest, old := strings.CutPrefix(r.URL.Path, "/v3beta/"); old {
			r.URL.Path = "/v3/" + rest
		}
		if r.TLS == nil && !allows(a.Hosts, hostname(r.Host)) {
			logger.Warn("an HTTP request was refused: it calls this server by a name that is not on the list", "host", r.Host)
			http.Error(w, fmt.Sprintf("%q is not a name that this server may be called by in plain text, where a web page could have made it point here: "+
				"use TLS, or add it to --host-whitelist", hostname(r.Host)), http.StatusMisdirectedRequest)
			return
		}
		if a.RefusesCommonName != nil && strings.HasPrefix(r.URL.Path, "/v3/") && commonName(r) != "" && a.RefusesCommonName() {
			http.Error(w, "CommonName of client sending a request against gateway will be ignored and not used as expected", http.StatusBadRequest)
			return
		}
		if err := auth.RefuseImpersonation(r.Header); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		origin := r.Header.Get("Origin")
		switch {
		case allows(a.CORS, "*"):
			addCORS(w, "*")
		case origin != "" && allows(a.CORS, origin):
			addCORS(w, origin)
		}
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusOK)
			return
		}
		if isWebSocket(r) && !a.allowsSocket(r, origin) {
			http.Error(w, fmt.Sprintf("pages of %q may not open WebSockets here: add it to --cors", origin), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowsSocket tells whether a page may open a WebSocket, which browsers allow across origins and with the user's
// certificate: the server has to ask.
func (a Access) allowsSocket(r *http.Request, origin string) bool {
	if origin == "" { // no browser
		return true
	}
	if u, err := url.Parse(origin); err == nil && strings.EqualFold(u.Host, r.Host) {
		return true
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return slices.Contains(a.CORS, origin) // the browser shows the certificate unasked: "all" is not enough
	}
	return allows(a.CORS, origin)
}

func addCORS(w http.ResponseWriter, origin string) {
	w.Header().Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE")
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Allow-Headers", "accept, content-type, authorization")
	if origin != "*" {
		w.Header().Add("Vary", "Origin")
	}
}

func allows(list []string, one string) bool {
	return len(list) == 0 || slices.Contains(list, "*") || slices.Contains(list, one)
}

// hostname is a Host header without its port.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

func commonName(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return ""
	}
	return r.TLS.VerifiedChains[0][0].Subject.CommonName
}
