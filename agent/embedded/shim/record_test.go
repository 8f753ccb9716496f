package shim

import (
	"os"
	"testing"
)

// A process of before the machine's restart is not the one that has its number, and its start's time, now.
func TestProcessDoesNotOutliveItsBoot(t *testing.T) {
	own, err := processOf(os.Getpid())
	if err != nil || !own.Alive() || own.Boot == "" {
		t.Fatalf("this process is %+v, alive %v, %v", own, own.Alive(), err)
	}
	earlier := own
	earlier.Boot = "6c2f6f7e-0d0e-4c0e-9f57-000000000000"
	if earlier.Alive() {
		t.Error("a process of another boot is alive")
	}
	if err := earlier.Wait(t.Context()); err != nil {
		t.Errorf("its end: %v", err)
	}
	if err := earlier.Signal(9); err != nil { // must not reach this process
		t.Error(err)
	}
	older := own
	older.Boot = "" // a record from before boots were in it
	if !older.Alive() {
		t.Error("a process without a boot is not alive")
	}
}
