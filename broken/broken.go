// Package broken names the ways in which a build with the tag "broken" can be broken on purpose, so that it can be seen that the
// harness in test/robustness finds each. In every other build nothing is ever broken, and the compiler leaves all of it out.
package broken

// Fault is a way to be broken.
type Fault string

// The faults. Of those that happen now and then, see Sometimes.
const (
	// ReadWithoutProof: a leader answers reads without proving that it leads.
	ReadWithoutProof Fault = "read-without-proof"
	// AnswerBeforeSync: the log is synced some time after what is in it was acknowledged.
	AnswerBeforeSync Fault = "answer-before-sync"
	// DropEvent: watches miss an event, now and then.
	DropEvent Fault = "drop-event"
	// SplitRevision: the events of a revision come in two messages, now and then.
	SplitRevision Fault = "split-revision"
	// KeepaliveWithoutProof: a leader renews leases without proving that it leads.
	KeepaliveWithoutProof Fault = "keepalive-without-proof"
	// ApplyTwice: a member applies an entry twice, now and then.
	ApplyTwice Fault = "apply-twice"
)

// Variable is the environment variable that chooses the fault of a broken build.
const Variable = "CTLPLANE_BROKEN"

// All are the faults.
func All() []Fault {
	return []Fault{ReadWithoutProof, AnswerBeforeSync, DropEvent, SplitRevision, KeepaliveWithoutProof, ApplyTwice}
}
