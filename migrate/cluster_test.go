package migrate

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ctlplane/ctlplane/master"
)

func errorSays(err error, text string) bool { return strings.Contains(err.Error(), text) }

// TestMigrateIntoThree: the first member moves the etcd, the others wait for that and join.
func TestMigrateIntoThree(t *testing.T) {
	from := startEtcd(t, "http")
	old := connect(t, from)
	compacted := fill(t, old)
	dir := t.TempDir()
	names := []string{"a", "b", "c"}
	peers := map[string]string{}
	var list []string
	for _, name := range names {
		peers[name] = "http://" + freeAddress(t)
		list = append(list, name+"="+peers[name])
	}
	members := map[string]*member{}
	for _, name := range names {
		client := "http://" + freeAddress(t)
		m := &member{t: t, url: client, logs: &logs{}}
		m.configure([]string{
			"--name", name, "--data-dir", filepath.Join(dir, name), "--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peers[name], "--initial-advertise-peer-urls", peers[name], "--initial-cluster", strings.Join(list, ","),
		})
		members[name] = m
	}
	members["b"].migrate(source(from))
	if err := <-members["b"].ended; err == nil || !errorSays(err, `run the migration as "a"`) {
		t.Errorf("the second member migrates: %v", err)
	}
	for _, name := range []string{"c", "b"} {
		members[name].start(master.Run)
	}
	members["c"].waitLogged("waiting for a master")
	a := members["a"]
	a.migrate(source(from))
	a.waitLevel()
	moved := a.cutOver()
	want := takePicture(t, old, compacted, moved.Revision)
	for _, name := range names {
		members[name].waitReady()
		if got := takePicture(t, connect(t, members[name].url), compacted, moved.Revision); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v\nwant:\n%+v", name, got, want)
		}
	}
	t.Logf("calls were held for %v", moved.Held)
}

// TestMigrateBeforeTheOthersAreThere: clients were held until another master had got all the data, and for ever if none was started.
func TestMigrateBeforeTheOthersAreThere(t *testing.T) {
	from := startEtcd(t, "http")
	compacted := fill(t, connect(t, from))
	client, peer := "http://"+freeAddress(t), "http://"+freeAddress(t)
	a := &member{t: t, url: client, logs: &logs{}}
	a.configure([]string{
		"--name", "a", "--data-dir", filepath.Join(t.TempDir(), "a"), "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", "a=" + peer + ",b=http://" + freeAddress(t) + ",c=http://" + freeAddress(t),
	})
	a.migrate(source(from))
	a.waitLevel()
	moved := a.cutOver()
	a.waitReady()
	takePicture(t, connect(t, client), compacted, moved.Revision)
}
