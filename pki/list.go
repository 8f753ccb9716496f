package pki

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Listed is one certificate of a directory.
type Listed struct {
	Name    string    `json:"name"`
	Subject string    `json:"subject"`
	Ends    time.Time `json:"ends"`
	// Renews is when it is due to be renewed; zero for the authority's own, which is not.
	Renews time.Time `json:"renews,omitzero"`
}

// List reads the certificates that WritePair and CA.Save have stored in dir, the authority's first.
func List(dir string) ([]Listed, error) {
	ca, err := LoadCA(dir)
	if err != nil {
		return nil, err
	}
	listed := []Listed{{Name: caKind, Subject: ca.cert.Subject.String(), Ends: ca.cert.NotAfter}}
	var names []string
	for _, suffix := range []string{".pem", ".crt"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			names = append(names, strings.TrimSuffix(filepath.Base(path), suffix))
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if name+".crt" == caCertFile {
			continue
		}
		source, err := openPair(dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // replaced at this moment, or of a release before
		}
		if err != nil {
			return nil, err
		}
		cert := source.cert.Leaf
		listed = append(listed, Listed{Name: name, Subject: cert.Subject.String(), Ends: cert.NotAfter, Renews: dueAt(cert)})
	}
	return listed, nil
}
