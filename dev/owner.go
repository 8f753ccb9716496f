package dev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// ownerPatience is how long an owner may take to end its cluster once it was asked to.
const ownerPatience = 60 * time.Second

// errOwned says that another process owns a cluster's directory.
var errOwned = errors.New("another process owns it")

// own makes this process the owner of a cluster's directory, which it creates, until the file is closed.
//
//  1. At most one process owns a directory. It alone starts and removes what is there.
//  2. The kernel ends the ownership with its process: what a killed owner left behind may be removed by the next one.
func own(dir string) (*os.File, error) {
	for {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		file, err := os.Open(dir)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			file.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, errOwned
			}
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		locked, err := file.Stat()
		if err != nil {
			file.Close()
			return nil, err
		}
		// The owner before may have removed the directory between the two: then this one is nobody's.
		if present, err := os.Stat(dir); err == nil && os.SameFile(locked, present) {
			return file, nil
		}
		file.Close()
	}
}

// takeOver asks the owner of a cluster's directory to end the cluster, and becomes the owner once it has.
func takeOver(dir string) (*os.File, error) {
	asked := false
	for deadline := time.Now().Add(ownerPatience); ; time.Sleep(pollEvery) {
		file, err := own(dir)
		if !errors.Is(err, errOwned) {
			return file, err
		}
		if s, err := readState(dir); err == nil && s != nil && !asked && holds(s.Owner, dir) {
			if err := syscall.Kill(s.Owner, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return nil, fmt.Errorf("ask process %d, which runs the cluster in %s, to end: %w", s.Owner, dir, err)
			}
			asked = true
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the process that runs the cluster in %s does not end", dir)
		}
	}
}

// holds tells whether a process has the directory open, as its owner does.
func holds(pid int, dir string) bool {
	want, err := os.Stat(dir)
	if err != nil {
		return false
	}
	open, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(open, func(file string) bool {
		got, err := os.Stat(file)
		return err == nil && os.SameFile(got, want)
	})
}
