package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

type options struct {
	ctlplane, etcd string
	scratch        string
	run            *regexp.Regexp
	listed         bool
	timeout        time.Duration
}

func main() {
	var o options
	pattern := flag.String("run", "", "run only tests whose `package.Test` this matches")
	flag.StringVar(&o.ctlplane, "ctlplane", "bin/ctlplane", "the binary that is tested")
	flag.StringVar(&o.etcd, "etcd", "", "test this etcd `binary` instead, with the tests that are not applicable to ctlplane too")
	flag.StringVar(&o.scratch, "scratch", ".cache/etcd-tests", "the folder for etcd's tests, their binaries and their logs")
	flag.BoolVar(&o.listed, "listed", false, "run only the tests that are said not to be applicable, to see which pass")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Minute, "of one test")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if o.run, err = regexp.Compile(*pattern); err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	list, err := readInapplicable(inapplicableFile)
	if err != nil {
		return err
	}
	s, err := prepare(ctx, o)
	if err != nil {
		return err
	}
	if err := becomeSubreaper(); err != nil {
		return err
	}
	r := &report{out: os.Stdout}
	for _, p := range packages {
		tests, err := s.tests(ctx, p)
		if err != nil {
			return err
		}
		if err := list.check(p, tests); err != nil {
			return err
		}
		for _, name := range tests {
			if !o.run.MatchString(p + "." + name) {
				continue
			}
			t := test{pkg: p, name: name}
			switch reason, skip := list.of(t); {
			case o.etcd != "":
			case o.listed && reason == "" && len(skip) == 0:
				continue
			case o.listed:
			case reason != "":
				r.inapplicable++
				continue
			default:
				t.skip = skip
				r.inapplicable += len(skip)
			}
			result, err := s.run(ctx, t)
			if err != nil {
				return err
			}
			r.add(result)
		}
	}
	r.finish(s.logs)
	if r.failing() {
		return errors.New("tests of etcd's failed")
	}
	return nil
}
