package master

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/raftstore"
)

// TestAMasterJoinsByTheAPIPortOfOneThatWaits: the first master of a list answers no client before the second votes, and says so. Where
// it did not answer those that join either, both waited for ever.
func TestAMasterJoinsByTheAPIPortOfOneThatWaits(t *testing.T) {
	const token = "a secret that the masters share"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	ready := make(chan string, 2)
	start := func(name string, change func(*Config)) Config {
		config := Config{
			Name: name, DataDir: filepath.Join(t.TempDir(), "data"), PeerAddr: freeAddress(t), ClientAddr: freeAddress(t), APIAddr: freeAddress(t),
			Token: token, Logger: slog.New(slog.DiscardHandler), Ready: func(told Ready) { ready <- told.Name },
		}
		change(&config)
		go func() { ended <- Run(ctx, config) }()
		return config
	}
	defer func() {
		cancel()
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()
	first := start("m1", func(c *Config) {
		c.Peers = []raftstore.Peer{{Name: "m1", Address: c.PeerAddr}, {Name: "m2", Address: freeAddress(t)}}
	})
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	var answer *http.Response
	for answer == nil {
		got, err := client.Get("https://" + first.APIAddr + "/api/v1/namespaces")
		if err != nil { // it does not listen yet
			time.Sleep(10 * time.Millisecond)
			continue
		}
		answer = got
	}
	defer answer.Body.Close()
	var status metav1.Status
	if err := json.NewDecoder(answer.Body).Decode(&status); err != nil || status.Kind != "Status" || status.Code != http.StatusServiceUnavailable ||
		!strings.Contains(status.Message, "1 of its masters vote, and 2 have to") {
		t.Errorf("a master that waits answers %+v, %v", status, err)
	}
	start("m2", func(c *Config) { c.Join = first.APIAddr })
	for range cap(ended) {
		<-ready
	}
}
