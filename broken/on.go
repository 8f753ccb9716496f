//go:build broken

package broken

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
)

var chosen = choose()

func choose() Fault {
	f := Fault(os.Getenv(Variable))
	if !slices.Contains(All(), f) {
		panic(fmt.Sprintf("this build is broken on purpose: set %s to one of %v", Variable, All()))
	}
	return f
}

// Is tells whether the process is broken in a way.
func Is(f Fault) bool { return f == chosen }

// Sometimes tells whether to be broken this time: once in 50.
func Sometimes(f Fault) bool { return f == chosen && rand.IntN(50) == 0 }
