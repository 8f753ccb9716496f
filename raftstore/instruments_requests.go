package raftstore

import (
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/statemachine"
)

// The operations of reads, and of changes of members: etcd keeps the latter apart from its other requests, and has no names for them.
const (
	opRange        = "Range"
	opReadTxn      = "ReadonlyTxn"
	opMemberAdd    = "MemberAdd"
	opMemberRemove = "MemberRemove"
)

// operations are the values of the labels "op" and "type": all that operationOf returns, and the reads.
var operations = []string{
	opRange, opReadTxn, opMemberAdd, opMemberRemove,
	"Put", "DeleteRange", "Txn", "Compaction", "LeaseGrant", "LeaseRevoke", "LeaseCheckpoint", "Alarm",
	"ClusterMemberAttrSet", "DowngradeInfoSet",
	"Authenticate", "AuthEnable", "AuthDisable", "AuthUserAdd", "AuthUserDelete", "AuthUserChangePassword", "AuthUserGrantRole",
	"AuthUserRevokeRole", "AuthRoleAdd", "AuthRoleDelete", "AuthRoleGrantPermission", "AuthRoleRevokePermission",
}

// operationOf is a command's kind, by etcd's name for it.
func operationOf(c *kv.Command) string {
	switch {
	case c.Put != nil:
		return "Put"
	case c.DeleteRange != nil:
		return "DeleteRange"
	case c.Txn != nil:
		return "Txn"
	case c.Compact != nil:
		return "Compaction"
	case c.LeaseGrant != nil:
		return "LeaseGrant"
	case c.LeaseRevoke != nil:
		return "LeaseRevoke"
	case c.LeaseCheckpoint != nil:
		return "LeaseCheckpoint"
	case c.Alarm != nil:
		return "Alarm"
	case c.Downgrade != nil:
		return "DowngradeInfoSet"
	case c.Auth != nil:
		name := string(c.Auth.ProtoReflect().Descriptor().Name())
		return strings.TrimPrefix(strings.TrimSuffix(name, "Request"), "Internal")
	case c.Member != nil && c.Member.Operation == kv.MemberAdd:
		return opMemberAdd
	case c.Member != nil && c.Member.Operation == kv.MemberRemove:
		return opMemberRemove
	}
	return "ClusterMemberAttrSet"
}

// requestInstruments are how long requests take. Names, labels and buckets are etcd's.
type requestInstruments struct {
	apply, request, scan *prometheus.HistogramVec

	applies, requests map[string]*outcomes // by operation
	scans             *outcomes
}

func newRequestInstruments() requestInstruments {
	// buckets are count, each twice the one before.
	histogram := func(name, help string, lowest float64, count int, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(lowest, 2, count)}, labels)
	}
	i := requestInstruments{
		apply: histogram("etcd_server_apply_duration_seconds", "How long the state takes to carry a command out; of puts that are applied together, their mean.",
			0.0001, 20, "version", "op", "success"),
		request: histogram("etcd_server_request_duration_seconds", "How long clients of this member wait for commands and reads. A command that was applied has success, though it may have been refused.",
			0.001, 14, "type", "success"),
		scan: histogram("etcd_server_range_duration_seconds", "How long the state takes to answer a range, or a chunk of one; of single keys that are read together, their mean.",
			0.0001, 20, "success"),
		applies: map[string]*outcomes{}, requests: map[string]*outcomes{},
	}
	for _, operation := range operations {
		i.applies[operation] = &outcomes{histogram: i.apply, labels: []string{"v3", operation}}
		i.requests[operation] = &outcomes{histogram: i.request, labels: []string{operation}}
	}
	i.scans = &outcomes{histogram: i.scan}
	return i
}

func (r *requestInstruments) collectors() []prometheus.Collector {
	return []prometheus.Collector{r.apply, r.request, r.scan}
}

// outcomes are the times of one operation, of those that succeeded and those that did not. Both are made when they are first
// needed, so that what never happens is not shown. To find them again takes an atomic load.
type outcomes struct {
	histogram *prometheus.HistogramVec
	labels    []string // all but the last, which is "success"

	failed, succeeded atomic.Pointer[prometheus.Observer]
}

// of are those with or without success; none of an operation that is not known.
func (o *outcomes) of(success bool) prometheus.Observer {
	if o == nil {
		return prometheus.ObserverFunc(func(float64) {})
	}
	kept := &o.failed
	if success {
		kept = &o.succeeded
	}
	if have := kept.Load(); have != nil {
		return *have
	}
	made := o.histogram.WithLabelValues(append(o.labels[:len(o.labels):len(o.labels)], strconv.FormatBool(success))...)
	kept.Store(&made) // another goroutine's is the same
	return made
}

// carriedOut takes etcd's view of success: that a revision is compacted already is an answer.
func (i *instruments) carriedOut(timing statemachine.Timing) {
	if i == nil {
		return
	}
	h := i.requests.applies[operationOf(timing.Command)].of(timing.Err == nil || errors.Is(timing.Err, kv.ErrCompacted))
	for range timing.Count {
		h.Observe(timing.Each.Seconds())
	}
}

func (i *instruments) answered(operation string, took time.Duration, err error) {
	if i != nil {
		i.requests.requests[operation].of(err == nil).Observe(took.Seconds())
	}
}

func (i *instruments) scanned(took time.Duration, err error) {
	if i != nil {
		i.requests.scans.of(err == nil).Observe(took.Seconds())
	}
}
