package kv

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"k8s.io/utils/clock"
)

// maxAuthTokens bounds the tokens that are remembered; beyond it the one that was not used for the longest time goes. One
// takes about 300 bytes.
const maxAuthTokens = 1 << 16

// tokenTable is the tokens that were assigned to users, in this process's memory: each member has them as it applied them,
// and counts their time for itself. They are no part of the state, and gone with the process: clients then authenticate
// again. Of a token only its hash is in the log and here, so that neither gives away a token that can be used.
//
// Invariant: used is in the order of the tokens' last use, the oldest first, and index has the same tokens.
type tokenTable struct {
	clock clock.PassiveClock

	mu    sync.Mutex
	index map[string]*list.Element // by hash
	used  *list.List               // of *authToken
}

type authToken struct {
	hash     string
	user     string
	password []byte // the user's hash when it was assigned: a change of it ends the token
	last     time.Time
}

// tokenAssignment is a token that a command assigned.
type tokenAssignment struct {
	hash, user string
	password   []byte
}

// HashAuthToken returns what stands for a token in an InternalAuthenticateRequest, in place of its SimpleToken.
func HashAuthToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// UseAuthToken returns the user whom a token was assigned to, if that was no longer than ttl ago, or if it was no longer
// than ttl ago that it was used here; and if the user has the same password still.
func (s *Store) UseAuthToken(token string, ttl time.Duration) (user string, ok bool) {
	t, ok := s.tokens.use(HashAuthToken(token), ttl)
	if !ok {
		return "", false
	}
	u := s.Auth().User(t.user)
	return t.user, u != nil && bytes.Equal(u.Password, t.password)
}

func (t *tokenTable) use(hash string, ttl time.Duration) (authToken, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	for e := t.used.Front(); e != nil && now.Sub(e.Value.(*authToken).last) > ttl; e = t.used.Front() {
		t.drop(e)
	}
	e := t.index[hash]
	if e == nil {
		return authToken{}, false
	}
	token := e.Value.(*authToken)
	token.last = now
	t.used.MoveToBack(e)
	return *token, true
}

func (t *tokenTable) drop(e *list.Element) {
	delete(t.index, e.Value.(*authToken).hash)
	t.used.Remove(e)
}

func newTokenTable(c clock.PassiveClock) *tokenTable {
	return &tokenTable{clock: c, index: map[string]*list.Element{}, used: list.New()}
}

// commit takes assigned tokens in, after it has forgotten those from before, if users ceased to be told apart.
func (t *tokenTable) commit(assigned []tokenAssignment, forget bool) {
	if !forget && len(assigned) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if forget {
		clear(t.index)
		t.used.Init()
	}
	for _, a := range assigned {
		if t.index[a.hash] != nil {
			continue
		}
		if t.used.Len() >= maxAuthTokens {
			t.drop(t.used.Front())
		}
		t.index[a.hash] = t.used.PushBack(&authToken{a.hash, a.user, a.password, t.clock.Now()})
	}
}

func (w *writer) assignToken(r *pb.InternalAuthenticateRequest) error {
	u := w.auth.users[r.Name]
	switch {
	case !w.auth.enabled:
		return ErrAuthNotEnabled
	case u == nil || u.GetOptions().GetNoPassword():
		return ErrAuthFailed
	}
	w.assigned = append(w.assigned, tokenAssignment{hash: r.SimpleToken, user: r.Name, password: u.Password})
	return nil
}
