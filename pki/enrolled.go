package pki

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// EnrolledName reads which node's enrolment is in dir, whatever has become of its certificates. ok is false for a directory
// without one.
func EnrolledName(dir string) (name string, ok bool, err error) {
	path := filepath.Join(dir, enrolmentFile)
	content, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	var record struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(content, &record); err != nil {
		return "", false, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return record.Name, true, nil
}

// RemoveEnrolment removes what a node's enrolment has put into dir, the keys first. What a master of the same machine keeps there
// stays, with the CA's certificate.
func RemoveEnrolment(dir string) error {
	for _, pair := range []string{clientPair, servingPair} {
		certFile, keyFile := separateFiles(dir, pair)
		if err := errors.Join(remove(PairFile(dir, pair)), remove(keyFile), remove(certFile)); err != nil {
			return err
		}
	}
	if err := remove(filepath.Join(dir, enrolmentFile)); err != nil {
		return err
	}
	rest, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || len(rest) > 1 || len(rest) == 1 && rest[0].Name() != caCertFile {
		return err
	}
	return errors.Join(remove(filepath.Join(dir, caCertFile)), os.Remove(dir))
}

// remove removes a file. Gone already is no error.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
