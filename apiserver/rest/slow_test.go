package rest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctlplane/ctlplane/apiserver/patience/pipenet"
	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/registry/registrytest"
	"github.com/ctlplane/ctlplane/apiserver/rest"
)

// piped is an API server on a network in memory.
type piped struct {
	*http.Client
	t *testing.T
}

// overEachProtocol runs a test against an API server over HTTP/1 and HTTP/2, on a clock of its own.
func overEachProtocol(t *testing.T, options rest.Options, test func(p piped)) {
	for _, version := range []string{"HTTP/1", "HTTP/2"} {
		t.Run(version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options := options
				options.Logger, options.Authenticator = slog.New(slog.DiscardHandler), users
				options.Registry = registrytest.New(t, registrytest.NewStorage(t), registry.Options{Logger: options.Logger})
				handler, err := rest.NewHandler(options)
				if err != nil {
					t.Fatal(err)
				}
				protocols := new(http.Protocols)
				protocols.SetHTTP1(version == "HTTP/1")
				protocols.SetUnencryptedHTTP2(version == "HTTP/2")
				network := pipenet.Listen()
				ctx, cancel := context.WithCancel(t.Context())
				server := &http.Server{Handler: handler, Protocols: protocols}
				var serving sync.WaitGroup
				serving.Go(func() { _ = server.Serve(network) })
				transport := &http.Transport{
					DialContext: network.DialContext, Protocols: protocols, DisableCompression: true,
					HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 1 << 10}, // a reader that takes nothing is noticed soon
				}
				defer serving.Wait()
				defer server.Close()
				defer transport.CloseIdleConnections()
				defer cancel()
				test(piped{&http.Client{Transport: &withContext{ctx, transport}}, t})
			})
		})
	}
}

// withContext ends all requests with a context.
type withContext struct {
	ctx  context.Context
	next http.RoundTripper
}

func (w *withContext) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.WithContext(w.ctx)
	r.Header.Set("Authorization", "Bearer admin")
	return w.next.RoundTrip(r)
}

// send makes a request, whose answer is not read.
func (p piped) send(method, path string, body io.Reader) *http.Response {
	p.t.Helper()
	request, err := http.NewRequest(method, "http://server"+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	return response
}

func (p piped) create(name, data string) {
	p.t.Helper()
	response := p.send("POST", mapsPath, strings.NewReader(fmt.Sprintf(`{"metadata":{"name":%q},"data":{"k":%q}}`, name, data)))
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusCreated {
		p.t.Fatalf("create: %s, %v", response.Status, err)
	}
}

// TestWatchIsNotResetAfterItsLastEvent has a watch wait for its next event for minutes.
func TestWatchIsNotResetAfterItsLastEvent(t *testing.T) {
	overEachProtocol(t, rest.Options{}, func(p piped) {
		response := p.send("GET", mapsPath+"?watch=1", nil)
		events := bufio.NewReader(response.Body)
		for i := range 3 {
			p.create(fmt.Sprint("m", i), "")
			if line, err := events.ReadString('\n'); err != nil || !strings.Contains(line, `"ADDED"`) {
				p.t.Fatalf("event %d: %q, %v", i, line, err)
			}
			time.Sleep(5 * time.Minute)
		}
	})
}

// TestWatchThatIsNotReadIsCutOff has a watch whose reader takes nothing.
func TestWatchThatIsNotReadIsCutOff(t *testing.T) {
	overEachProtocol(t, rest.Options{}, func(p piped) {
		response := p.send("GET", mapsPath+"?watch=1", nil)
		p.create("large", strings.Repeat("x", 100<<10))
		time.Sleep(2 * time.Minute)
		begun := time.Now()
		if _, err := io.Copy(io.Discard, response.Body); err == nil || time.Since(begun) > time.Second {
			p.t.Errorf("the watch went on for %v: %v", time.Since(begun), err)
		}
	})
}

// TestSlowBodiesBlockNoWrite has more requests than there are slots for writes, none of which sends its body.
func TestSlowBodiesBlockNoWrite(t *testing.T) {
	overEachProtocol(t, rest.Options{}, func(p piped) {
		var sending sync.WaitGroup
		const senders = 450
		codes := make(chan int, senders)
		for i := range senders {
			body, writer := io.Pipe()
			sending.Go(func() {
				go func() { _, _ = io.WriteString(writer, `{"metadata":`) }()
				method, path := "POST", mapsPath
				switch i % 3 {
				case 1:
					method, path = "PUT", mapsPath+"/a"
				case 2:
					method, path = "DELETE", mapsPath+"/a"
				}
				response := p.send(method, path, body)
				_ = response.Body.Close()
				_ = writer.Close()
				codes <- response.StatusCode
			})
		}
		synctest.Wait()
		p.create("mine", "v")
		sending.Wait()
		close(codes)
		for code := range codes {
			if code != http.StatusRequestTimeout {
				p.t.Fatalf("a body that did not come: %d", code)
			}
		}
	})
}

// TestSlowReadersBlockNoRequest has more requests than there are slots whose answers nobody takes.
func TestSlowReadersBlockNoRequest(t *testing.T) {
	for _, slow := range []string{"GET", "PUT"} {
		overEachProtocol(t, rest.Options{MaxReads: 20, MaxWrites: 20, MaxReaders: 100}, func(p piped) {
			large := fmt.Sprintf(`{"metadata":{"name":"large"},"data":{"k":%q}}`, strings.Repeat("x", 100<<10))
			p.create("large", strings.Repeat("x", 100<<10))
			for range 130 { // more than readers are waited for, too
				path := mapsPath
				var body io.Reader
				if slow == "PUT" {
					path, body = mapsPath+"/large", strings.NewReader(large)
				}
				if response := p.send(slow, path, body); response.StatusCode != http.StatusOK {
					p.t.Fatalf("%s: %s", slow, response.Status)
				}
			}
			p.create("mine", "v")
			response := p.send("GET", mapsPath+"/mine", nil)
			text, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusOK {
				p.t.Errorf("%s %v: %s", response.Status, err, text)
			}
		})
	}
}
