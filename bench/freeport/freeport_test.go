package freeport

import (
	"net"
	"slices"
	"testing"
)

// TestAddresses: each can be listened at, and none is given out twice.
func TestAddresses(t *testing.T) {
	all, err := Addresses(20)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range all {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
	}
	slices.Sort(all)
	if distinct := slices.Compact(slices.Clone(all)); len(distinct) != 20 {
		t.Errorf("%d of them are the same", 20-len(distinct))
	}
}
