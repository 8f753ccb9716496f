package shim

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// entries reads a log file's entries, and fails on a line that is none.
func entries(t *rapid.T, path string) (tags []string, texts []string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(fields) != 4 || !strings.HasSuffix(line, "\n") {
			t.Fatalf("no entry: %q", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, fields[0]); err != nil {
			t.Fatal(err)
		}
		tags, texts = append(tags, fields[2]), append(texts, fields[3])
	}
	return tags, texts
}

// Whatever a container writes, in whatever pieces: the log, put together again, is it.
func TestLogHoldsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		count++
		path := filepath.Join(dir, fmt.Sprint(count))
		log, err := openLog(path, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		line := rapid.OneOf(rapid.StringMatching(`[a-z ]{0,20}`), rapid.Just(strings.Repeat("x", maxLine)), rapid.Just(strings.Repeat("long ", maxLine)))
		written := strings.Join(rapid.SliceOfN(line, 1, 12).Draw(t, "lines"), "\n") + rapid.SampledFrom([]string{"", "\n"}).Draw(t, "end")
		log.copy("stdout", &pieces{t: t, rest: []byte(written)})
		log.close()
		tags, texts := entries(t, path)
		var b strings.Builder
		for i, text := range texts {
			if b.WriteString(text); tags[i] == "F" {
				b.WriteByte('\n')
			}
		}
		if b.String() != written {
			t.Fatalf("the log has %d bytes, %d were written", b.Len(), len(written))
		}
	})
}

// pieces reads a text in pieces of any size.
type pieces struct {
	t    *rapid.T
	rest []byte
}

func (p *pieces) Read(into []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(into[:rapid.IntRange(1, len(into)).Draw(p.t, "piece")], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func TestLogKeepsSoManyFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	log, err := openLog(path, 1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	log.copy("stderr", bytes.NewReader([]byte(strings.Repeat("a line of some length\n", 1))))
	for range 500 {
		log.write("stderr", []byte("another line of some length\n"), false)
	}
	log.close()
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Size() > 1000 {
			t.Errorf("%s: %v, %v", file, info.Size(), err)
		}
	}
}

// A stream that does not end with a line's end leaves a partial entry, also when the line is as long as a piece.
func TestUnfinishedLastLineIsPartial(t *testing.T) {
	for written, want := range map[string]string{
		"hello": "P", "hello\n": "F", "a\nb": "FP", strings.Repeat("x", maxLine): "P", strings.Repeat("x", maxLine) + "\n": "PF", "\n": "F", "": "",
	} {
		rapid.Check(t, func(r *rapid.T) {
			path := filepath.Join(t.TempDir(), "log")
			log, err := openLog(path, 0, 1)
			if err != nil {
				r.Fatal(err)
			}
			log.copy("stdout", &pieces{t: r, rest: []byte(written)})
			log.close()
			if tags, _ := entries(r, path); strings.Join(tags, "") != want {
				r.Fatalf("%d bytes are entries %v, want %s", len(written), tags, want)
			}
		})
	}
}
