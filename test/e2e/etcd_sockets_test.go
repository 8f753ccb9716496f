package e2e

import (
	"path/filepath"
	"testing"

	"github.com/ctlplane/ctlplane/client"
)

// TestEtcdMembersOnSockets: the members of one machine reach each other, and are reached, by sockets in the file system.
func TestEtcdMembersOnSockets(t *testing.T) {
	a := newUserCA(t)
	cert, key := a.issue("peer", "localhost")
	for scheme, flags := range map[string][]string{
		"unix":  nil,
		"unixs": {"--peer-cert-file", cert, "--peer-key-file", key, "--peer-trusted-ca-file", filepath.Join(a.dir, "ca.pem"), "--peer-client-cert-auth"},
	} {
		t.Run(scheme, func(t *testing.T) {
			c := newEtcdCluster(t, scheme, "a", "b", "c")
			for _, name := range c.names {
				c.peers[name], c.clients[name] = filepath.Join(c.dir, name+".peer"), filepath.Join(c.dir, name+".client")
			}
			c.flags = func(name string) []string {
				client := "unix://" + c.clients[name]
				return append([]string{"--listen-client-urls", client, "--advertise-client-urls", client}, flags...)
			}
			c.startAll()
			at := func(name string) shell {
				return etcdctl(t, client.Access{Endpoints: []string{"unix://" + c.clients[name]}, Insecure: true})
			}
			contains(t, at("a").run("member", "list"), scheme+"://"+c.peers["b"], "unix://"+c.clients["c"])
			at("b").run("put", "key", "1")

			// One that is killed leaves its sockets behind, and nobody at them.
			if err := c.processes["a"].command.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-c.processes["a"].ended
			c.processes["a"].err = nil
			at("b").run("put", "key", "2")
			c.start("a").waitReady()
			if got := at("a").run("get", "key"); got != "key\n2\n" {
				t.Errorf("the member that was killed reads %q", got)
			}
		})
	}
}
