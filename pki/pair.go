package pki

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/ctlplane/ctlplane/durable"
)

// errBadPair says that files are there, and hold no certificate with its key.
var errBadPair = errors.New("no certificate with its key")

// PairFile is where WritePair keeps a certificate and its key.
//
// Invariant: both are in one file, which is replaced as a whole. In two files a crash between the two would leave a
// certificate with another one's key, and a machine that can't start.
func PairFile(dir, name string) string { return filepath.Join(dir, name+".pem") }

// WritePair stores a certificate and its key under name in dir.
func WritePair(dir, name string, certPEM, keyPEM []byte) error {
	if err := durable.WriteFile(PairFile(dir, name), slices.Concat(certPEM, keyPEM)); err != nil {
		return err
	}
	certFile, keyFile := separateFiles(dir, name)
	for _, path := range []string{certFile, keyFile} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// separateFiles are where certificates and keys were kept before they shared a file; the next renewal moves them.
func separateFiles(dir, name string) (certFile, keyFile string) {
	return filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
}

// openPair opens what WritePair stored.
func openPair(dir, name string) (*Source, error) {
	source, err := OpenSource(PairFile(dir, name), PairFile(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return OpenSource(separateFiles(dir, name))
	}
	return source, err
}
