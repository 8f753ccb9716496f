package patience_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctlplane/ctlplane/apiserver/patience"
	"github.com/ctlplane/ctlplane/apiserver/patience/pipenet"
)

// overEachProtocol runs a test over HTTP/1 and HTTP/2, against a handler, on a clock of its own.
func overEachProtocol(t *testing.T, handler http.HandlerFunc, test func(t *testing.T, client *http.Client, network *pipenet.Listener)) {
	for _, version := range []string{"HTTP/1", "HTTP/2"} {
		t.Run(version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				protocols := new(http.Protocols)
				protocols.SetHTTP1(version == "HTTP/1")
				protocols.SetUnencryptedHTTP2(version == "HTTP/2")
				network := pipenet.Listen()
				server := &http.Server{Handler: handler, Protocols: protocols}
				var serving sync.WaitGroup
				serving.Go(func() { _ = server.Serve(network) })
				transport := &http.Transport{DialContext: network.DialContext, Protocols: protocols, DisableCompression: true}
				defer serving.Wait()
				defer server.Close()
				defer transport.CloseIdleConnections()
				test(t, &http.Client{Transport: transport}, network)
			})
		})
	}
}

func get(t *testing.T, client *http.Client) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://server/", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// TestStreamOutlastsItsPatience has a stream pause for far longer than its reader may take for one piece.
func TestStreamOutlastsItsPatience(t *testing.T) {
	handler := func(rw http.ResponseWriter, _ *http.Request) {
		w := &patience.Writer{ResponseWriter: rw, Patience: 30 * time.Second}
		control := http.NewResponseController(w)
		for range 5 {
			if _, err := io.WriteString(w, "event\n"); err != nil || control.Flush() != nil {
				return
			}
			time.Sleep(time.Hour) // nothing happens
		}
	}
	overEachProtocol(t, handler, func(t *testing.T, client *http.Client, _ *pipenet.Listener) {
		for range 2 { // over HTTP/1 on the same connection
			response := get(t, client)
			events, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || strings.Count(string(events), "event") != 5 {
				t.Errorf("got %q, %v", events, err)
			}
			time.Sleep(time.Hour) // the connection rests
		}
	})
}

// TestReaderThatTakesNothingIsCutOff has writers that are never read, and one that is read slowly, but steadily.
func TestReaderThatTakesNothingIsCutOff(t *testing.T) {
	for name, x := range map[string]struct {
		limit    time.Duration
		pause    time.Duration // of the reader, after each piece
		atLeast  time.Duration
		atMost   time.Duration
		survives bool
	}{
		"never read":                 {pause: 24 * time.Hour, atLeast: 20 * time.Second, atMost: 2 * time.Minute},
		"read steadily":              {pause: 5 * time.Second, survives: true},
		"read steadily, but limited": {limit: time.Minute, pause: 5 * time.Second, atLeast: time.Minute, atMost: time.Minute + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			const size = 8 << 20
			ended := make(chan time.Duration, 1)
			var failure error
			handler := func(rw http.ResponseWriter, _ *http.Request) {
				begun := time.Now()
				w := &patience.Writer{ResponseWriter: rw, Patience: 30 * time.Second, Limit: x.limit}
				_, failure = w.Write(make([]byte, size)) // in one write, as a list's encoder may
				ended <- time.Since(begun)
			}
			overEachProtocol(t, handler, func(t *testing.T, client *http.Client, _ *pipenet.Listener) {
				ended = make(chan time.Duration, 1)
				response := get(t, client)
				reading, stop := context.WithCancel(t.Context())
				var reader sync.WaitGroup
				reader.Go(func() {
					piece := make([]byte, 256<<10)
					for {
						if _, err := io.ReadFull(response.Body, piece); err != nil {
							return
						}
						select {
						case <-time.After(x.pause):
						case <-reading.Done():
							return
						}
					}
				})
				took := <-ended
				stop()
				reader.Wait()
				_ = response.Body.Close()
				switch {
				case x.survives && failure != nil:
					t.Errorf("cut off after %v: %v", took, failure)
				case !x.survives && (failure == nil || took < x.atLeast || took > x.atMost):
					t.Errorf("after %v: %v", took, failure)
				}
			})
		})
	}
}

// slowBody sends a little, and the rest when it is told to.
func slowBody(head string) (*io.PipeReader, *io.PipeWriter) {
	reader, writer := io.Pipe()
	go func() { _, _ = io.WriteString(writer, head) }()
	return reader, writer
}

func readingHandler(bodies *patience.Bodies) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		bodies.Bound(w, r)
		body, err := bodies.Read(w, r)
		var tooLarge *http.MaxBytesError
		switch {
		case errors.Is(err, patience.ErrSlowBody):
			w.WriteHeader(http.StatusRequestTimeout)
		case errors.Is(err, patience.ErrCrowded):
			w.WriteHeader(http.StatusTooManyRequests)
		case errors.As(err, &tooLarge):
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
		default:
			_, _ = w.Write(body)
		}
	}
}

func post(t *testing.T, client *http.Client, body io.Reader) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://server/", body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return response.StatusCode, string(text)
}

func TestBodiesAreReadInTime(t *testing.T) {
	bodies := &patience.Bodies{Clients: patience.NewSlowClients(10, 1<<20), Patience: time.Minute, MaxBytes: 1 << 16}
	overEachProtocol(t, readingHandler(bodies), func(t *testing.T, client *http.Client, _ *pipenet.Listener) {
		long := strings.Repeat("x", 1<<16)
		if code, text := post(t, client, strings.NewReader(long)); code != http.StatusOK || text != long {
			t.Errorf("a body of the largest size: %d, %d bytes", code, len(text))
		}
		if code, _ := post(t, client, strings.NewReader(long+"x")); code != http.StatusRequestEntityTooLarge {
			t.Errorf("a larger one: %d", code)
		}
		reader, writer := slowBody("a little")
		begun := time.Now()
		if code, _ := post(t, client, reader); code != http.StatusRequestTimeout || time.Since(begun) != time.Minute {
			t.Errorf("one that does not come: %d after %v", code, time.Since(begun))
		}
		_ = writer.Close()
		reader, writer = slowBody("a little")
		go func() {
			time.Sleep(50 * time.Second)
			_, _ = io.WriteString(writer, " more")
			_ = writer.Close()
		}()
		if code, text := post(t, client, reader); code != http.StatusOK || text != "a little more" {
			t.Errorf("one that takes its time: %d %q", code, text)
		}
	})
}

// TestSlowestBodiesMakeRoom has ever more bodies on their way that never come whole.
func TestSlowestBodiesMakeRoom(t *testing.T) {
	for name, clients := range map[string]func() *patience.SlowClients{
		"by number": func() *patience.SlowClients { return patience.NewSlowClients(10, 1<<30) },
		"by bytes":  func() *patience.SlowClients { return patience.NewSlowClients(1000, 10*4<<10) },
	} {
		t.Run(name, func(t *testing.T) {
			var handler http.HandlerFunc
			overEachProtocol(t, func(w http.ResponseWriter, r *http.Request) { handler(w, r) }, func(t *testing.T, client *http.Client, _ *pipenet.Listener) {
				handler = readingHandler(&patience.Bodies{Clients: clients(), Patience: time.Minute, MaxBytes: 1 << 16})
				var posting sync.WaitGroup
				var mu sync.Mutex
				codes := map[int]int{}
				for range 50 {
					reader, writer := slowBody("a little")
					posting.Go(func() {
						code, _ := post(t, client, reader)
						_ = writer.Close()
						mu.Lock()
						defer mu.Unlock()
						codes[code]++
					})
					synctest.Wait()
				}
				if code, text := post(t, client, strings.NewReader("mine")); code != http.StatusOK || text != "mine" {
					t.Errorf("a body that comes at once: %d %q", code, text)
				}
				mu.Lock()
				if codes[http.StatusTooManyRequests] < 40 || codes[http.StatusTooManyRequests] > 42 {
					t.Errorf("of 50 slow ones, %v made room", codes)
				}
				mu.Unlock()
				posting.Wait()
			})
		})
	}
}

// TestRefusedBodyEnds has a handler that reads nothing: what the HTTP server reads of the body then is bounded, too.
func TestRefusedBodyEnds(t *testing.T) {
	bodies := &patience.Bodies{Clients: patience.NewSlowClients(10, 1<<20), Patience: time.Minute, MaxBytes: 1 << 16}
	handler := func(w http.ResponseWriter, r *http.Request) {
		bodies.Bound(w, r)
		w.WriteHeader(http.StatusForbidden)
	}
	overEachProtocol(t, handler, func(t *testing.T, client *http.Client, network *pipenet.Listener) {
		if client.Transport.(*http.Transport).Protocols.UnencryptedHTTP2() {
			reader, writer := slowBody("a little")
			if code, _ := post(t, client, reader); code != http.StatusForbidden {
				t.Errorf("%d", code)
			}
			_ = writer.Close()
			return
		}
		conn, err := network.DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 1000\r\n\r\na little"); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		lines := bufio.NewReader(conn)
		if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "403") {
			t.Errorf("%q, %v", line, err)
		}
		if _, err := io.Copy(io.Discard, lines); err != nil || time.Since(begun) > 2*time.Minute {
			t.Errorf("the connection ended after %v: %v", time.Since(begun), err)
		}
	})
}

// TestCutEndsWithTheWait lets a wait end while others crowd in: a cut must not touch a request that is over.
func TestCutEndsWithTheWait(t *testing.T) {
	clients := patience.NewSlowClients(1, 1<<30)
	var crowd sync.WaitGroup
	for range 8 {
		crowd.Go(func() {
			for range 2000 {
				live := true
				wait := clients.Begin(func() {
					if !live {
						t.Error("cut off after its end")
					}
				})
				wait.End()
				live = false
			}
		})
	}
	crowd.Wait()
}
