// Package record keeps small JSON documents in files that a crash can't leave half written.
package record

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/ctlplane/ctlplane/durable"
)

// Write replaces the file at path by one that holds value, readable by its owner only. After a crash, of
// the machine too, the file is the old one or the new one.
func Write(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return durable.Replace(path, data)
}

// Read fills into from the file at path; fs.ErrNotExist when there is none.
func Read(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
