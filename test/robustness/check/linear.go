package check

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/test/robustness/traffic"
)

// content is what a key holds. The zero value is that of a key that was never there.
type content struct {
	revision int64 // of the last event, a deletion too
	there    bool
	value    string
}

// step is what an operation did with one key.
//
// The revision of an answer tells which of a key's events it was behind. So the model has no choice but the order, and the search is
// short. That an answer's content is what its revision says is the check "a range is the state at its revision".
type step struct {
	op *traffic.Op // nil: it is not known whose it was
	// behind is the revision of the event that it found as the last one.
	behind int64
	// saw, unless nil, is what it read: whether the key is there, and what it holds.
	saw *content
	// guard, unless nil, is the revision that it compared the key's with, equal what came of that.
	guard *int64
	equal bool
	after *content // nil: it changed nothing
}

// model is a key of the store, as its clients see it.
var model = porcupine.Model{
	Init: func() any { return content{} },
	Step: func(state, input, _ any) (bool, any) {
		s, now := input.(step), state.(content)
		held := int64(0)
		if now.there {
			held = now.revision
		}
		switch {
		case s.behind != now.revision:
			return false, now
		case s.saw != nil && (s.saw.there != now.there || s.saw.there && *s.saw != now):
			return false, now
		case s.guard != nil && s.equal != (held == *s.guard):
			return false, now
		case s.after != nil:
			return true, *s.after
		}
		return true, now
	},
	DescribeOperation: func(input, _ any) string { return input.(step).String() },
	DescribeState:     func(state any) string { return state.(content).String() },
}

func (c content) String() string {
	if !c.there {
		return fmt.Sprintf("nothing since %d", c.revision)
	}
	return fmt.Sprintf("%s at %d", c.value, c.revision)
}

func (s step) String() string {
	text := fmt.Sprintf("behind %d", s.behind)
	if s.saw != nil {
		text += ", saw " + s.saw.String()
	}
	if s.guard != nil {
		text += fmt.Sprintf(", compared with %d: %v", *s.guard, s.equal)
	}
	if s.after != nil {
		text += ", made it " + s.after.String()
	}
	return text
}

// linearizable looks, for each key, for an order of all operations that explains what each of them saw. If it finds none in
// its time, it says that the question is undecided.
func linearizable(h *traffic.History, t *timeline, budget time.Duration, dir string) (found []Violation, undecided string) {
	v := violations{check: "linearizable"}
	deadline := time.Now().Add(budget)
	for i := range traffic.Keys {
		name := fmt.Sprint(h.Prefix, "k/", i)
		operations := fewerReads(steps(h, t, name))
		left := time.Until(deadline)
		if left <= 0 {
			return v.found, fmt.Sprintf("no time was left for %s: give more, or make rounds shorter", name)
		}
		result, info := porcupine.CheckOperationsVerbose(model, operations, left)
		switch result {
		case porcupine.Unknown:
			return v.found, fmt.Sprintf("%d operations on %s were not ordered in %v", len(operations), name, budget)
		case porcupine.Illegal:
			path := filepath.Join(dir, "linearizability-"+strings.ReplaceAll(name, "/", "-")+".html")
			v.add(blame(info, operations), "no order explains the operations on %s; the longest one that does is in %s", name, path)
			draw(info, path)
		}
	}
	return v.found, ""
}

func draw(info porcupine.LinearizationInfo, path string) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return // the violation stands without its picture
	}
	_ = porcupine.VisualizePath(model, info, path)
}

// blame returns the last operation of the longest order, and the first one that it could not take in.
func blame(info porcupine.LinearizationInfo, operations []porcupine.Operation) (ops []*traffic.Op) {
	var longest []int
	for _, partition := range info.PartialLinearizations() {
		for _, order := range partition {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	ordered := map[int]bool{}
	for _, i := range longest {
		ordered[i] = true
	}
	left := -1
	for i, o := range operations {
		if !ordered[i] && (left < 0 || o.Return < operations[left].Return) {
			left = i
		}
	}
	blamed := []int{left}
	if n := len(longest); n > 0 {
		blamed = []int{longest[n-1], left}
	}
	for _, i := range blamed {
		if i >= 0 && operations[i].Input.(step).op != nil {
			ops = append(ops, operations[i].Input.(step).op)
		}
	}
	return ops
}

// steps are what all operations did with one key, in the order of their calls.
func steps(h *traffic.History, t *timeline, name string) (operations []porcupine.Operation) {
	end := h.Now().Nanoseconds()
	claimed := map[int64]bool{} // events that have an operation
	var unknown []*traffic.Op
	for _, o := range h.Ops {
		switch o.Outcome() {
		case traffic.Unknown:
			if writesTo(o, name) {
				unknown = append(unknown, o)
			}
		case traffic.Done:
			s, ok := stepOf(o, name)
			if !ok || o.Revision() > t.last {
				continue
			}
			if s.op = o; s.after != nil {
				s.behind = t.eventBefore(name, o.Revision())
				claimed[o.Revision()] = true
			} else {
				s.behind = t.eventBefore(name, o.Revision()+1)
			}
			if s.saw != nil && !s.saw.there {
				s.saw.revision = s.behind
			}
			operations = append(operations, porcupine.Operation{ClientId: max(0, o.Client), Input: s, Call: o.Call.Nanoseconds(), Return: o.Return.Nanoseconds()})
		}
	}
	// What was seen to happen, and nobody was told so, was done by somebody whose outcome is unknown.
	for _, e := range t.history[name] {
		if claimed[e.Kv.ModRevision] {
			continue
		}
		put := e.Type == mvccpb.Event_PUT
		s := step{op: cause(unknown, e), behind: t.eventBefore(name, e.Kv.ModRevision), after: &content{e.Kv.ModRevision, put, string(e.Kv.Value)}}
		o := porcupine.Operation{ClientId: len(h.Ops), Input: s, Return: end}
		if s.op != nil {
			o.Call = s.op.Call.Nanoseconds()
		}
		operations = append(operations, o)
	}
	slices.SortStableFunc(operations, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	return operations
}

// eventBefore is the revision of the last event of a key before a revision; 0: there was none.
func (t *timeline) eventBefore(key string, revision int64) int64 {
	if e := t.before(key, revision); e != nil {
		return e.Kv.ModRevision
	}
	return 0
}

// fewerReads leaves out reads that say nothing more: of those that saw the same, the one that began last and the one that ended
// first bound all others.
func fewerReads(operations []porcupine.Operation) (fewer []porcupine.Operation) {
	kind := func(o porcupine.Operation) string { return o.Input.(step).String() }
	begun, ended := map[string]int{}, map[string]int{}
	for i, o := range operations {
		if o.Input.(step).after != nil {
			continue
		}
		k := kind(o)
		if j, ok := begun[k]; !ok || o.Call > operations[j].Call {
			begun[k] = i
		}
		if j, ok := ended[k]; !ok || o.Return < operations[j].Return {
			ended[k] = i
		}
	}
	for i, o := range operations {
		if k := kind(o); o.Input.(step).after != nil || begun[k] == i || ended[k] == i {
			fewer = append(fewer, o)
		}
	}
	return fewer
}
