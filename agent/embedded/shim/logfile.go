package shim

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

// maxLine is the longest piece of a line that one log entry holds; a longer line becomes several entries.
const maxLine = 16 << 10

// logFile is a container's log in CRI's format, one entry a line: "<time> <stream> <F|P> <text>". F (full) is for a
// line, or the end of one; P (partial) is for a piece without the line's end: of a long line, and of one that the
// stream ended in.
//
//  1. A container never waits for its log and never fails for it: what can't be written is dropped.
//  2. An entry is in one file whole; the file of the name path is always the newest.
type logFile struct {
	path     string
	maxBytes int64
	maxFiles int

	mu   sync.Mutex
	file *os.File // nil: entries are discarded
	size int64
	out  []byte
}

// openLog continues the log at path. maxBytes 0 never rotates.
func openLog(path string, maxBytes int64, maxFiles int) (*logFile, error) {
	l := &logFile{path: path, maxBytes: maxBytes, maxFiles: max(maxFiles, 1)}
	if path == "" {
		return l, nil
	}
	return l, l.open()
}

func (l *logFile) open() error {
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	l.file, l.size = file, info.Size()
	return nil
}

// copy writes all that r gives to the log, until r ends.
func (l *logFile) copy(stream string, r io.Reader) {
	buffer := make([]byte, maxLine)
	held := 0 // bytes of a line whose end has not come yet
	for {
		n, err := r.Read(buffer[held:])
		held += n
		used := l.write(stream, buffer[:held], err != nil)
		held = copy(buffer, buffer[used:held])
		if err != nil {
			return
		}
	}
}

// write logs the whole lines in text, and the rest too when it fills the buffer or is the last. It
// returns how much of text it has taken.
func (l *logFile) write(stream string, text []byte, last bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = l.out[:0]
	stamp := time.Now().UTC()
	used := 0
	for used < len(text) {
		rest := text[used:]
		end := bytes.IndexByte(rest, '\n')
		switch {
		case end >= 0:
			l.entry(stamp, stream, 'F', rest[:end])
			used += end + 1
		case last, len(rest) == maxLine:
			l.entry(stamp, stream, 'P', rest)
			used = len(text)
		default:
			l.flush()
			return used
		}
	}
	l.flush()
	return used
}

func (l *logFile) entry(stamp time.Time, stream string, tag byte, text []byte) {
	l.out = stamp.AppendFormat(l.out, time.RFC3339Nano)
	l.out = append(l.out, ' ')
	l.out = append(l.out, stream...)
	l.out = append(l.out, ' ', tag, ' ')
	l.out = append(l.out, text...)
	l.out = append(l.out, '\n')
}

func (l *logFile) flush() {
	if l.file == nil || len(l.out) == 0 {
		return
	}
	if l.maxBytes > 0 && l.size > 0 && l.size+int64(len(l.out)) > l.maxBytes {
		l.rotate()
	}
	n, err := l.file.Write(l.out)
	l.size += int64(n)
	if err != nil && n > 0 {
		// Half an entry would spoil the next one: take it back.
		if l.file.Truncate(l.size-int64(n)) == nil {
			l.size -= int64(n)
		}
	}
}

// rotate moves path to path.1, path.1 to path.2 and so on, and begins anew. Should it fail, the log goes
// on in the file that there is.
func (l *logFile) rotate() {
	for i := l.maxFiles - 2; i >= 0; i-- {
		_ = os.Rename(l.numbered(i), l.numbered(i+1))
	}
	old := l.file
	if l.maxFiles == 1 {
		_ = os.Remove(l.path)
	}
	if l.open() == nil {
		old.Close()
	}
}

func (l *logFile) numbered(i int) string {
	if i == 0 {
		return l.path
	}
	return l.path + "." + strconv.Itoa(i)
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}
