package propose

import (
	"errors"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
)

// groupOf makes commands whose answers have so many bytes each, and gives the errors and sizes that they were answered with.
func groupOf(t *testing.T, sizes []int) (group *groupAnswer, outcomes []outcome, answers []string) {
	t.Helper()
	group, answers = &groupAnswer{answered: func(uint64, int64) {}}, make([]string, len(sizes))
	for i, size := range sizes {
		group.proposals = append(group.proposals, &Proposal{Command: kv.Command{Put: &pb.PutRequest{}}, Done: func(result kv.Result, err error) {
			if answers[i] != "" {
				t.Errorf("command %d was answered twice", i)
			}
			answers[i] = fmt.Sprint(err)
			if err == nil {
				answers[i] = fmt.Sprint(len(result.Response.(*pb.PutResponse).PrevKv.Value))
			}
		}})
		answer := &pb.PutResponse{PrevKv: &mvccpb.KeyValue{Value: make([]byte, size)}}
		outcomes = append(outcomes, outcome{result: kv.Result{Response: answer}})
	}
	return group, outcomes, answers
}

// partsOf is the answer to a group as it goes from member to member.
func partsOf(t *testing.T, inParts bool, outcomes []outcome) (parts []*peerpb.ForwardResponse) {
	t.Helper()
	err := sendOutcomes(&peerpb.ForwardRequest{Id: 7, InParts: inParts}, outcomes, func(part *peerpb.ForwardResponse) error {
		size := 0
		for _, result := range part.Results {
			size += len(result.Response)
		}
		if part.Id != 7 || inParts && size > answerPart {
			t.Errorf("a part of group %d with %d bytes", part.Id, size)
		}
		parts = append(parts, part)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func TestAnswersComeInParts(t *testing.T) {
	for _, sizes := range [][]int{
		{}, {0}, {10, 20}, {answerPart}, {answerPart - 20, 100}, {3*answerPart + 5, 1, 2}, {1, 3 * answerPart, answerPart / 2, answerPart, 1}, {0, 5 * answerPart},
	} {
		for _, inParts := range []bool{true, false} {
			group, outcomes, answers := groupOf(t, sizes)
			parts := partsOf(t, inParts, outcomes)
			if !inParts && len(parts) != 1 {
				t.Errorf("%v: %d messages for a member that takes one", sizes, len(parts))
			}
			for i, part := range parts {
				if part.More != (i < len(parts)-1) {
					t.Errorf("%v: message %d of %d: more is %v", sizes, i, len(parts), part.More)
				}
				group.take(part)
			}
			group.end()
			for i, size := range sizes {
				if answers[i] != fmt.Sprint(size) {
					t.Errorf("%v: answer %d is %s", sizes, i, answers[i])
				}
			}
		}
	}
}

// TestPartOfAnAnswerIsLost: where the stream ends within an answer, the commands whose results have come have them, and of the
// others nobody knows.
func TestPartOfAnAnswerIsLost(t *testing.T) {
	sizes := []int{1, 3 * answerPart, 1, 2 * answerPart, 1}
	_, outcomes, _ := groupOf(t, sizes)
	parts := partsOf(t, true, outcomes)
	for came := range parts {
		group, outcomes, answers := groupOf(t, sizes)
		parts := partsOf(t, true, outcomes)
		for _, part := range parts[:came] {
			group.take(part)
		}
		settled := group.settled
		group.end()
		for i, size := range sizes {
			want := fmt.Sprint(size)
			if i >= settled {
				want = failure.ErrOutcomeUnknown.Error()
			}
			if answers[i] != want {
				t.Errorf("after %d of %d messages answer %d is %s", came, len(parts), i, answers[i])
			}
		}
	}
}

// TestRefusalsKeepTheirMeaning: what the leader did not propose is said so, and what it can't tell is unknown.
func TestRefusalsKeepTheirMeaning(t *testing.T) {
	for _, test := range []struct {
		at     error
		want   error
		repeat bool
	}{
		{at: failure.ErrNotLeading, repeat: true},
		{at: failure.ErrClosed, repeat: true},
		{at: failure.ErrTooManyRequests, want: failure.ErrTooManyRequests},
		{at: failure.ErrTooLarge, want: failure.ErrTooLarge},
		{at: failure.ErrOutcomeUnknown, want: failure.ErrOutcomeUnknown},
		{at: errors.New("something else"), want: failure.ErrOutcomeUnknown},
	} {
		var got error
		group := &groupAnswer{answered: func(uint64, int64) {}, proposals: []*Proposal{{Done: func(_ kv.Result, err error) { got = err }}}}
		group.take(partsOf(t, true, []outcome{{err: test.at}})[0])
		if again := group.end(); (len(again) == 1) != test.repeat || !errors.Is(got, test.want) {
			t.Errorf("%v: %d to repeat, %v", test.at, len(again), got)
		}
	}

	// An answer that can't be read is that of a command which was applied.
	var got error
	group := &groupAnswer{answered: func(uint64, int64) {}, proposals: []*Proposal{{Command: kv.Command{Put: &pb.PutRequest{}}, Done: func(_ kv.Result, err error) { got = err }}}}
	group.take(&peerpb.ForwardResponse{Results: []*peerpb.CommandResult{{Response: []byte{0xff}}}})
	if !errors.Is(got, failure.ErrOutcomeUnknown) {
		t.Errorf("an answer that can't be read: %v", got)
	}
}
