package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/ctlplane/ctlplane/client"
)

// TestVerbs uses every verb of the store as somebody at the cluster's own machine does: no flags, the cluster is found.
func TestVerbs(t *testing.T) {
	c := start(t, 3, 0)
	s := ctlplane(t, c.Kubeconfig())
	perf := s.follow("check", "perf", "--load", "s") // it takes a minute, whatever happens meanwhile
	defer perf.stop()
	t.Run("keys", func(t *testing.T) { verbsOfKeys(t, s.of(t)) })
	t.Run("formats", func(t *testing.T) { verbsInFormats(t, s.of(t)) })
	t.Run("members", func(t *testing.T) { verbsOfMembers(t, s.of(t), c.Masters[0].Access) })
	t.Run("users", func(t *testing.T) { verbsOfUsers(t, s.of(t)) })
	t.Run("locks", func(t *testing.T) { verbsOfLocks(t, s.of(t)) })
	t.Run("mirror", func(t *testing.T) { verbMakeMirror(t, s.of(t)) })
	t.Run("errors", func(t *testing.T) { verbsThatFail(t, s.of(t), c.Masters[0].Access) })
	perf.until("Throughput") // how fast this machine is is not the question
}

// of is the same terminal in a test within the test.
func (s shell) of(t *testing.T) shell {
	s.t = t
	return s
}

func verbsOfKeys(t *testing.T, s shell) {
	s.run("kv", "put", "a/1", "one")
	s.feed("from standard input", "kv", "put", "a/2")
	if got := s.run("kv", "get", "--prefix", "a/"); got != "a/1\none\na/2\nfrom standard input\n" {
		t.Errorf("get: %q", got)
	}
	for flags, want := range map[string]string{
		"--keys-only --prefix a/":                           "a/1\n\na/2\n\n",
		"--count-only -w fields --prefix a/":                `"Count" : 2`,
		"--print-value-only a/1":                            "one\n",
		"--limit 1 --prefix a/":                             "a/1\none\n",
		"--order DESCEND --sort-by KEY --keys-only a/1 a/3": "a/2\n\na/1\n\n",
		"--from-key --keys-only --limit 1 a/2":              "a/2\n\n",
		"--consistency s a/1":                               "a/1\none\n",
		"--hex a/1":                                         `\x61\x2f\x31`,
	} {
		if got := s.run(append([]string{"kv", "get"}, strings.Fields(flags)...)...); !strings.Contains(got, want) {
			t.Errorf("get %s: %q, want %q", flags, got, want)
		}
	}
	watch := s.follow("kv", "watch", "--prefix", "a/", "--rev", "1")
	defer watch.stop()
	watch.until("from standard input")
	s.run("kv", "put", "--prev-kv", "a/1", "uno")
	watch.until("uno")
	if got := s.run("kv", "del", "--prev-kv", "a/2"); !strings.HasPrefix(got, "1\na/2\n") {
		t.Errorf("del: %q", got)
	}
	watch.until("DELETE")
	verbWatchInteractive(t, s)
	contains(t, s.feed("mod(\"a/1\") > \"0\"\n\nput a/3 three\nget a/1\n\n\n", "kv", "txn"), "SUCCESS", "OK", "uno")
	contains(t, s.feed("value(\"a/1\") = \"x\"\n\n\nget a/3\n\n", "kv", "txn", "--interactive"), "compares:", "FAILURE", "three")

	lease := strings.Fields(s.run("kv", "lease", "grant", "100"))[1]
	s.run("kv", "put", "--lease", lease, "a/leased", "x")
	contains(t, s.run("kv", "lease", "list"), lease)
	contains(t, s.run("kv", "lease", "timetolive", "--keys", lease), "a/leased", "granted with TTL(100s)")
	contains(t, s.run("kv", "lease", "keep-alive", "--once", lease), "keepalived")
	contains(t, s.run("kv", "lease", "revoke", lease), "revoked")
	if got := s.run("kv", "get", "a/leased"); got != "" {
		t.Errorf("the key of a revoked lease: %q", got)
	}
	revision := revisionOf(t, s)
	contains(t, s.run("kv", "compact", fmt.Sprint(revision)), "compacted revision")
	s.refuse("", []string{"required revision has been compacted"}, "kv", "compaction", fmt.Sprint(revision-1))
}

// verbWatchInteractive types several watches into one command.
func verbWatchInteractive(t *testing.T, s shell) {
	typed, keyboard, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer typed.Close()
	defer keyboard.Close()
	watch := s.talk(typed, "kv", "watch", "--interactive")
	defer watch.stop()
	for _, key := range []string{"typed/1", "typed/2"} {
		s.run("kv", "put", key, "before")
		if _, err := fmt.Fprintf(keyboard, "watch %s --rev 1\n", key); err != nil {
			t.Fatal(err)
		}
		watch.until(key)
	}
}

// revisionOf is the store's present revision.
func revisionOf(t *testing.T, s shell) int64 {
	t.Helper()
	var put struct {
		Header struct {
			Revision int64 `json:"revision"`
		} `json:"header"`
	}
	if err := json.Unmarshal([]byte(s.run("kv", "put", "revision", "x", "-w", "json")), &put); err != nil {
		t.Fatal(err)
	}
	return put.Header.Revision
}

// verbsInFormats asks for each output format: those that etcdctl has for a verb, and the error for those that it has not.
func verbsInFormats(t *testing.T, s shell) {
	s.run("kv", "put", "format", "f")
	for verb, want := range map[string]map[string]string{
		"kv get format":   {"simple": "format\nf\n", "json": `"kvs":[{`, "fields": `"Key" : "format"`, "protobuf": "format", "table": ""},
		"kv put other g":  {"simple": "OK", "json": `"header":{`, "fields": `"Revision" :`, "table": ""},
		"kv lease list":   {"simple": "found", "json": `"leases":`, "fields": `"Revision" :`, "table": ""},
		"member list":     {"simple": "started, m1", "json": `"members":[{`, "fields": `"Name" : "m1"`, "table": "PEER ADDRS"},
		"endpoint status": {"simple": "true", "json": `"Status":{`, "fields": `"DBSize" :`, "table": "IS LEADER"},
		"endpoint health": {"simple": "is healthy", "json": `"health":true`, "fields": `"Health" : true`, "table": "HEALTH"},
		"endpoint hashkv": {"simple": ", ", "json": `"HashKV":{`, "fields": `"Hash" :`, "table": "HASH"},
		"alarm list":      {"simple": "", "json": `"header":{`, "fields": `"Revision" :`},
		"user list":       {"simple": "", "json": `"header":{`},
		"role list":       {"simple": "", "json": `"header":{`, "fields": `"Roles" :`},
		"auth status":     {"simple": "Authentication Status: false", "json": `"authRevision":`},
	} {
		for format, text := range want {
			words := append(strings.Fields(verb), "-w", format)
			if format == "table" && text == "" {
				s.refuse("", []string{"table not supported as output format"}, words...)
				continue
			}
			contains(t, s.run(words...), text)
		}
		s.refuse("", []string{`unknown output format "xml"`, "simple, json, fields, table"}, append(strings.Fields(verb), "-w", "xml")...)
	}
}

func verbsOfMembers(t *testing.T, s shell, access client.Access) {
	ids := memberIDs(t, s)
	contains(t, s.run("endpoint", "status", "--cluster"), access.Endpoints[0])
	contains(t, s.run("defrag"), "Finished defragmenting")
	contains(t, s.run("alarm", "list")+"none", "none")
	s.run("alarm", "disarm")

	// Leadership goes to each member in turn. The leader alone can hand it over, and on a busy machine it may be another a
	// moment after it was asked for.
	for _, name := range []string{"m1", "m2", "m3"} {
		eventually(t, name+" leads", func() bool {
			leader, endpoint := leaderOf(t, s)
			if leader == ids[name] {
				return true
			}
			if said, err := s.try("", "move-leader", ids[name], "--endpoints", endpoint); err == nil {
				contains(t, said, "Leadership transferred")
			}
			return false
		})
	}
	s.refuse("", []string{"member not found"}, "member", "remove", "1234")
	s.refuse("", []string{"member"}, "member", "promote", ids["m1"])
	added := s.run("member", "add", "m4", "--learner", "--peer-urls", "https://127.0.0.1:1")
	contains(t, added, "added as learner to cluster", "ETCD_INITIAL_CLUSTER")
	id := strings.Fields(added)[1]
	contains(t, s.run("member", "list"), id, "unstarted")
	s.run("member", "update", id, "--peer-urls", "https://127.0.0.1:2")
	contains(t, s.run("member", "list"), "https://127.0.0.1:2")
	s.refuse("", []string{"learner"}, "member", "promote", id)
	contains(t, s.run("member", "remove", id), "removed")
	contains(t, s.run("downgrade", "validate", "3.6")+"cluster", "cluster")
}

// memberIDs are the members' ids, in hexadecimal, by their names.
func memberIDs(t *testing.T, s shell) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for line := range strings.Lines(s.run("member", "list")) {
		if fields := strings.Split(line, ", "); len(fields) > 2 {
			ids[fields[2]] = fields[0]
		}
	}
	return ids
}

// leaderOf is the leader's id and its endpoint, which may be of a moment ago; empty when there is none.
func leaderOf(t *testing.T, s shell) (id, endpoint string) {
	t.Helper()
	var all []struct {
		Endpoint string
		Status   struct {
			Header struct {
				MemberID uint64 `json:"member_id"`
			} `json:"header"`
			Leader uint64 `json:"leader"`
		}
	}
	if err := json.Unmarshal([]byte(s.run("endpoint", "status", "-w", "json")), &all); err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		if one.Status.Leader == one.Status.Header.MemberID {
			return fmt.Sprintf("%x", one.Status.Leader), one.Endpoint
		}
	}
	return "", ""
}

func verbsOfUsers(t *testing.T, s shell) {
	contains(t, s.feed("secret\n", "user", "add", "ann", "--interactive=false"), "User ann created")
	contains(t, s.run("user", "add", "bob:secret"), "User bob created")
	s.run("user", "add", "nobody", "--no-password")
	s.run("role", "add", "reader")
	s.run("role", "grant-permission", "reader", "--prefix=true", "read", "a/")
	s.run("user", "grant-role", "ann", "reader")
	contains(t, s.run("role", "get", "reader"), "[a/, a0)")
	contains(t, s.run("user", "get", "ann", "--detail"), "reader", "KV Read")
	contains(t, s.run("user", "list"), "ann", "bob", "nobody")
	contains(t, s.run("role", "list"), "reader")
	s.feed("other\n", "user", "passwd", "bob", "--interactive=false")
	s.run("user", "delete", "nobody")
	s.refuse("", []string{"root"}, "auth", "enable") // there is no root yet
	s.run("user", "add", "root:secret")
	contains(t, s.run("auth", "enable"), "Authentication Enabled")
	defer func() {
		contains(t, s.run("auth", "disable", "--user", "root:secret"), "Authentication Disabled")
		contains(t, s.run("auth", "status"), "Authentication Status: false")
	}()
	contains(t, s.run("auth", "status", "--user", "root:secret"), "Authentication Status: true")
	s.run("kv", "get", "a/1", "--user", "ann:secret")
	s.run("kv", "get", "a/1", "--user", "ann", "--password", "secret")
	s.refuse("", []string{"permission denied"}, "kv", "put", "a/1", "x", "--user", "ann:secret")
	s.refuse("", []string{"permission denied"}, "kv", "get", "a/1", "--user", "bob:other")
	s.refuse("", []string{"invalid user ID or password"}, "kv", "get", "a/1", "--user", "ann:wrong")
	s.run("user", "revoke-role", "ann", "reader", "--user", "root:secret")
	s.refuse("", []string{"permission denied"}, "kv", "get", "a/1", "--user", "ann:secret")
	s.run("role", "revoke-permission", "reader", "--prefix=true", "a/", "--user", "root:secret")
	s.run("role", "delete", "reader", "--user", "root:secret")
}

func verbsOfLocks(t *testing.T, s shell) {
	contains(t, s.run("lock", "door", "echo", "inside"), "inside")
	s.refuse("", []string{"exit status 7"}, "lock", "door", "--", "sh", "-c", "exit 7")
	holder := s.follow("lock", "door")
	holder.until("door/")
	waiting := s.follow("lock", "door")
	defer waiting.stop()
	end(holder) // it gives the lock back
	waiting.until("door/")

	candidate := s.follow("elect", "office", "me")
	candidate.until("me")
	observer := s.follow("elect", "--listen", "office")
	defer observer.stop()
	observer.until("me")
	end(candidate)
}

// end asks a command to end, as a terminal does.
func end(f *stream) {
	_ = f.command.Process.Signal(syscall.SIGINT)
	for range f.lines { // to its end
	}
	_ = f.command.Wait()
}

func verbMakeMirror(t *testing.T, s shell) {
	target, peer := "http://"+freeAddress(t), "http://"+freeAddress(t)
	startEtcd(t, nil, "--data-dir", t.TempDir(), "--listen-client-urls", target, "--advertise-client-urls", target,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer).waitReady()
	s.run("kv", "put", "mirrored", "before")
	mirror := s.follow("make-mirror", strings.TrimPrefix(target, "http://"), "--dest-insecure-transport", "--prefix", "mirrored")
	defer mirror.stop()
	there := ctlplane(t, "/nowhere")
	at := []string{"--endpoints", target}
	read := func() string {
		return there.run(append([]string{"kv", "get", "--print-value-only", "mirrored"}, at...)...)
	}
	eventually(t, "what was there is mirrored", func() bool { return read() == "before\n" })
	s.run("kv", "put", "mirrored", "after")
	eventually(t, "what changes is mirrored", func() bool { return read() == "after\n" })
}

func verbsThatFail(t *testing.T, s shell, access client.Access) {
	nowhere := ctlplane(t, "/nowhere")
	for _, verb := range []string{"user", "role", "member", "endpoint", "alarm", "check", "kv"} {
		s.refuse("", []string{"unknown command", "nonsense"}, verb, "nonsense")
		contains(t, nowhere.run(verb), "Available Commands")
	}
	nowhere.refuse("", []string{"no such file"}, "member", "list")
	s.refuse("", []string{"127.0.0.1:1"}, "endpoint", "health", "--endpoints", "http://127.0.0.1:1")
	s.refuse("", []string{"deadline exceeded"}, "kv", "get", "a", "--endpoints", "http://127.0.0.1:1", "--command-timeout", "100ms")
	s.refuse("", []string{"unknown flag"}, "member", "list", "--no-such-flag")
	s.refuse("", []string{"requires"}, "user", "add")
	// One of the cluster's own endpoints needs no more flags; etcdctl's variables do as well.
	contains(t, s.run("endpoint", "health", "--endpoints", access.Endpoints[1]), "is healthy")
	byVariable := s
	byVariable.env = append([]string{"ETCDCTL_API=3", "ETCDCTL_ENDPOINTS=" + access.Endpoints[2]}, s.env...)
	contains(t, byVariable.run("endpoint", "health"), access.Endpoints[2])

	// An interrupt ends what waits.
	watch := s.follow("kv", "watch", "never")
	defer watch.stop()
	waiting := exec.Command(s.path, "completion", "bash")
	if out, err := waiting.Output(); err != nil || !strings.Contains(string(out), "ctlplane") {
		t.Errorf("completion: %v", err)
	}
	contains(t, s.run("__complete", "member", "list", "-w", ""), "simple", "json", "fields", "table")
	contains(t, s.run("__complete", "us"), "user")
	end(watch)
}
