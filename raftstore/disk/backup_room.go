package disk

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/ctlplane/ctlplane/kv/offline"
)

// ErrNoRoom is returned for a backup whose temporary files would take the space that the member needs to go on.
var ErrNoRoom = errors.New("no room for the backup's temporary files beside the data")

// backupLook is how much of a backup is written between two looks at the disk, which others write to as well.
const backupLook = 16 << 20

// BackupRoom keeps a backup, which takes no less than some bytes, off the free space below which the member refuses
// values: in all it takes no more than was free when it began, whenever that reaches the disk, and it ends when others
// have taken that. It is for one goroutine.
func (d *Disk) BackupRoom(atLeast int64) (offline.Room, error) {
	space, err := d.space(d.dirs[0])
	if err != nil {
		return nil, err
	}
	room := space.Free - d.Marks.High
	if room < atLeast {
		return nil, d.noRoom(space)
	}
	allowed, looked := int64(0), int64(0) // in all, and at the last look
	return func(bytes int64) error {
		if allowed += bytes; allowed > room {
			return d.noRoom(space)
		}
		if allowed-looked < backupLook {
			return nil
		}
		looked = allowed
		if space, err = d.space(d.dirs[0]); err != nil {
			return err
		}
		if space.Free < d.Marks.High {
			return d.noRoom(space)
		}
		return nil
	}, nil
}

func (d *Disk) noRoom(space Space) error {
	return fmt.Errorf("%w: values are refused when less than %s is free, and %s is: free some, ask another member, or use 'ctlplane snapshot save', which needs none",
		ErrNoRoom, humanize.IBytes(uint64(d.Marks.Low)), humanize.IBytes(uint64(space.Free)))
}
