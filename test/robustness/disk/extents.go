package disk

import (
	"errors"
	"io"
	"os"
	"slices"
)

// extent is a part of a file.
type extent struct{ from, to int64 }

// extents are parts of a file, in their order, none touching another.
type extents []extent

// add adds a part.
func (e *extents) add(from, to int64) {
	if from >= to {
		return
	}
	first, _ := slices.BinarySearchFunc(*e, from, func(x extent, from int64) int {
		if x.to < from {
			return -1
		}
		return 1
	})
	end := first
	for ; end < len(*e) && (*e)[end].from <= to; end++ {
		from, to = min(from, (*e)[end].from), max(to, (*e)[end].to)
	}
	*e = slices.Replace(*e, first, end, extent{from, to})
}

// copyRange copies a part of a file to the same place of another.
func copyRange(to, from *os.File, part extent) error {
	if part.from >= part.to {
		return nil
	}
	n, err := io.Copy(io.NewOffsetWriter(to, part.from), io.NewSectionReader(from, part.from, part.to-part.from))
	if err == nil && n < part.to-part.from {
		err = errors.New("a file of the disk is shorter than it was")
	}
	return err
}
