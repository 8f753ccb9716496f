package server

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"testing"
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
