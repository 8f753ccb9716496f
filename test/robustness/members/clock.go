package members

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The wall clock of a process can't be moved from outside without moving that of the whole machine. So a binary is built with a
// package time of which Now adds seconds that a file says, which the process has mapped. What is counted monotonically stays as it is,
// as on a machine whose clock is set.

// clockVariable names the file.
const clockVariable = "ROBUSTNESS_CLOCK"

// jumpSource is added to package time.
const jumpSource = `package time

import "syscall"

var jump *[8]byte

func init() {
	path, ok := syscall.Getenv("` + clockVariable + `")
	if !ok {
		return
	}
	file, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("the file of the clock: " + err.Error())
	}
	mapped, err := syscall.Mmap(file, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("the file of the clock: " + err.Error())
	}
	jump = (*[8]byte)(mapped)
}

func jumped() (seconds int64) {
	if jump == nil {
		return 0
	}
	for i := range jump {
		seconds |= int64(jump[i]) << (8 * i)
	}
	return seconds
}
`

// nowSource is the line of time.Now that is changed, in Go 1.26.
const nowSource = "sec, nsec, mono := runtimeNow()\n"

// clockOverlay writes what go build needs to build such a binary, and returns the path of its description.
func clockOverlay(dir string) (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go's own sources: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(original, "time.go"))
	if err != nil {
		return "", err
	}
	begin := strings.Index(string(source), "\nfunc Now() Time {")
	at := begin + strings.Index(string(source)[max(begin, 0):], nowSource)
	if begin < 0 || at < begin {
		return "", fmt.Errorf("time.Now of this Go has no line %q: bring members/clock.go up to date", strings.TrimSpace(nowSource))
	}
	at += len(nowSource)
	replaced := map[string]string{}
	for name, content := range map[string]string{"time.go": string(source[:at]) + "\tsec += jumped()\n" + string(source[at:]), "jump.go": jumpSource} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return "", err
		}
		replaced[filepath.Join(original, name)] = path
	}
	text, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}

// clockFile is where a member's process looks for how far its clock is off.
func (m *Member) clockFile() string { return m.dir + ".clock" }

// Jump sets the member's wall clock off the machine's by some seconds.
func (m *Member) Jump(by time.Duration) error {
	file, err := os.OpenFile(m.clockFile(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	var seconds [8]byte
	binary.LittleEndian.PutUint64(seconds[:], uint64(by/time.Second))
	_, err = file.WriteAt(seconds[:], 0)
	return err
}
