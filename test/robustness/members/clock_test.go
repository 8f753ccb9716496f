package members

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// watcher tells the wall clock and a time that was counted monotonically whenever it is asked.
const watcher = `package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

func main() {
	begun := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(time.Now().Unix(), int64(time.Since(begun)/time.Second))
	}
}
`

func TestClockJumps(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(watcher), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := clockOverlay(dir)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "watcher")
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m := &Member{dir: filepath.Join(dir, "m1")}
	if err := m.Jump(0); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary)
	command.Env = append(os.Environ(), clockVariable+"="+m.clockFile())
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close() // it ends then
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
	}()
	for _, by := range []time.Duration{0, time.Hour, -time.Hour, 0} {
		if err := m.Jump(by); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 100)
		n, err := out.Read(answer)
		if err != nil {
			t.Fatal(err)
		}
		wall, elapsed, _ := strings.Cut(strings.TrimSpace(string(answer[:n])), " ")
		seconds, err := strconv.ParseInt(wall, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if off := time.Unix(seconds, 0).Sub(time.Now().Add(by)); off.Abs() > time.Minute {
			t.Errorf("jumped by %v: it is off by %v", by, off)
		}
		if counted, err := strconv.Atoi(elapsed); err != nil || counted < 0 || counted > 60 {
			t.Errorf("jumped by %v: %s seconds have passed since the begin", by, elapsed)
		}
	}
}
