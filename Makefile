# make build | demo | test | test-kubernetes | test-etcd | robustness | bench | bench-large | lint | generate | install
SHELL := /bin/bash
GO ?= go
PREFIX ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# One static file: cgo is there for the container runtime's first steps inside a new namespace (libcontainer).
export CGO_ENABLED = 1
TAGS := netgo,osusergo
LDFLAGS := -s -w -linkmode external -extldflags -static -X main.version=$(VERSION)

.PHONY: build build-race demo test test-kubernetes test-etcd test-scale robustness robustness-broken lint bench bench-large generate install deps test-deps

build: deps
	$(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/ctlplane ./cmd/ctlplane

# The same with the race detector, for tests of whole systems. Neither static nor trimmed, so that it shares what the tests compile.
build-race: deps
	$(GO) build -race -o bin/ctlplane-race ./cmd/ctlplane

# A cluster on this machine that runs a real workload, loses its leader and a node, and goes on.
# KEEP=1 leaves it up and prints how to talk to it.
demo: build
	bin/ctlplane demo $(if $(KEEP),--keep)

# Everything that gates a change. The race detector is always on. At the end stands what each package took.
test: test-deps build lint
	set -o pipefail; $(GO) test -race -timeout 30m ./... | hack/package-times

# Kubernetes' own API server on the store in etcd's place. Its first build takes a quarter of an hour.
test-kubernetes: test-deps build
	cd test/kubernetes && CGO_ENABLED=0 $(GO) test -vet=off -count=1 -timeout 60m .

# etcd's own tests on the store in etcd's place: a quarter of an hour. RUN=PATTERN picks some, by package.Test;
# ETCD=bin/etcd runs them on that etcd.
test-etcd: test-deps build $(ETCD)
	$(GO) run ./test/etcd $(if $(RUN),-run '$(RUN)') $(if $(ETCD),-etcd '$(ETCD)') $(TEST_ETCD_FLAGS)

# 2,000 nodes, 10,000 pods, the leader killed: ROUNDS times, with RACE=1 on a binary with the race detector.
ROUNDS ?= 1
test-scale: test-deps build
	$(GO) test -count=1 -timeout 0 -v -run '^TestScale$$' ./test/e2e -args -scale.nodes 2000 -scale.pods 10000 \
	  -scale.rounds $(ROUNDS) -scale.minutes 30 $(if $(RACE),-scale.race)

# Real processes under faults of all kinds, for DURATION; with ETCD=bin/etcd (make bin/etcd builds it) those of etcd.
DURATION ?= 10m
robustness: test-deps
	$(GO) test -count=1 -timeout 0 -v -run '^TestRobustness$$' ./test/robustness -args -robustness.duration $(DURATION) \
	  $(if $(ETCD),-robustness.etcd $(abspath $(ETCD)),-robustness.clocks) $(ROBUSTNESS_FLAGS)

# Builds that are broken on purpose, of which each has to be found.
robustness-broken: test-deps
	$(GO) test -count=1 -timeout 0 -v -run '^TestBrokenBuildsAreFound$$' ./test/robustness -args -robustness.broken all -robustness.duration 10m $(ROBUSTNESS_FLAGS)

lint: deps
	@unformatted=$$(git ls-files '*.go' | grep -v '\.pb\.go$$' | xargs gofmt -l); \
	  if [ -n "$$unformatted" ]; then echo "gofmt these files:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# Three members of the store against three of etcd, in alternation: about ten minutes; QUICK=1 for a short run.
bench: build bin/etcd
	$(GO) run ./bench/compare -etcd bin/etcd $(if $(QUICK),-quick) $(BENCH_FLAGS)

# The same with ten million keys: memory, restart, scans, compaction. Takes long.
bench-large: build bin/etcd
	$(GO) run ./bench/compare -etcd bin/etcd -large $(if $(QUICK),-quick) $(BENCH_FLAGS)

bin/etcd: bench/peers/go.mod bench/peers/main.go
	cd bench/peers && $(GO) build -o ../../bin/etcd .

generate: test-deps
	$(GO) generate ./...

install: build
	install -D -m 0755 bin/ctlplane $(DESTDIR)$(PREFIX)/bin/ctlplane

# What a fresh Debian machine with Go lacks; nothing happens where all of it is there.
deps:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install Go 1.26 or later, or name it with GO=" >&2; exit 1; }
	@./hack/install-packages gcc:gcc /usr/lib/x86_64-linux-gnu/libc.a:libc6-dev nft:nftables ip:iproute2

test-deps: deps
	@./hack/install-packages protoc:protobuf-compiler /usr/include/google/protobuf/descriptor.proto:libprotobuf-dev etcdctl:etcd-client curl:curl kubectl:kubernetes-client
