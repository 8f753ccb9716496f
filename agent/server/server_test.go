package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestImpersonationIsRefused asks as an administrator who wants to be another.
func TestImpersonationIsRefused(t *testing.T) {
	admin := &x509.Certificate{Subject: pkix.Name{Organization: []string{adminGroup}}}
	handler := onlyAdmins(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for header, want := range map[string]int{"Impersonate-User": http.StatusForbidden, "impersonate-extra-x": http.StatusForbidden, "User-Agent": http.StatusOK} {
		request := httptest.NewRequest(http.MethodGet, "/pods", nil)
		request.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{admin}, VerifiedChains: [][]*x509.Certificate{{admin}}}
		request.Header.Set(header, "bob")
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if answer.Code != want {
			t.Errorf("%s: %d", header, answer.Code)
		}
	}
}

// quiet is a log whose container writes nothing.
type quiet struct{ Pods }

func (quiet) Logs(ctx context.Context, _, _, _ string, _ *corev1.PodLogOptions, w http.ResponseWriter) error {
	if _, err := w.Write(nil); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestFollowedLogIsAnsweredBeforeItsFirstLine follows a log without lines: who asks for it waits for the answer's head for ten
// seconds only.
func TestFollowedLogIsAnsweredBeforeItsFirstLine(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) { serveLogs(w, r, quiet{}) })
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/containerLogs/n/p/c?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request) // returns with the head
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", response, err)
	}
	_ = response.Body.Close()
}
