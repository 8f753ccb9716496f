package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"

	"github.com/ctlplane/ctlplane/raftstore"
)

// controlFile is the socket of a migration, which only the owner of the data directory reaches.
const controlFile = "migrate.sock"

// control answers those who ask how far a migration is, and for the step.
type control struct {
	server *http.Server
	served sync.WaitGroup
}

func serveControl(m *migration) (*control, error) {
	listener, err := net.Listen("unix", raftstore.LiveCopyFile(m.config.Master.DataDir, controlFile))
	if err != nil {
		return nil, fmt.Errorf("the socket of the migration: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, m.status(), nil) })
	mux.HandleFunc("POST /cut-over", func(w http.ResponseWriter, r *http.Request) {
		moved, err := m.ask(r.Context())
		answer(w, moved, err)
	})
	c := &control{server: &http.Server{Handler: mux, ReadHeaderTimeout: headerPatience}}
	c.served.Go(func() { _ = c.server.Serve(listener) }) // until it is closed
	return c, nil
}

func (c *control) close() {
	_ = c.server.Close()
	c.served.Wait()
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who asked may have gone away
}

// AskStatus asks the migration into a data directory how far it is. It may be over.
func AskStatus(ctx context.Context, dataDir string) (s Status, err error) {
	err = askControl(ctx, dataDir, http.MethodGet, "/status", &s)
	if errors.Is(err, errNoMigration) {
		if note, _ := raftstore.LoadMigrated(dataDir); note != nil {
			return Status{Phase: Finished, Revision: note.Revision}, nil
		}
	}
	return s, err
}

// AskCutOver asks the migration into a data directory for the step, and waits for its outcome.
func AskCutOver(ctx context.Context, dataDir string) (m Moved, err error) {
	err = askControl(ctx, dataDir, http.MethodPost, "/cut-over", &m)
	if errors.Is(err, errNoMigration) {
		if note, _ := raftstore.LoadMigrated(dataDir); note != nil {
			return m, fmt.Errorf("%s was moved before, at revision %d", dataDir, note.Revision)
		}
	}
	return m, err
}

var errNoMigration = errors.New("no migration is on its way")

func askControl(ctx context.Context, dataDir, method, path string, into any) error {
	socket := raftstore.LiveCopyFile(dataDir, controlFile)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, method, "http://migration"+path, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w into %s", errNoMigration, dataDir)
	}
	if err != nil {
		return fmt.Errorf("ask the migration into %s: %w", dataDir, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(string(bytes.TrimSpace(content)))
	}
	return json.Unmarshal(content, into)
}
