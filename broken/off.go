//go:build !broken

package broken

// Is tells whether the process is broken in a way: never.
func Is(Fault) bool { return false }

// Sometimes tells whether to be broken this time: never.
func Sometimes(Fault) bool { return false }
