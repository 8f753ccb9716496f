// Package demo is the workload of the built-in image ctlplane.local/demo: an HTTP server that says which
// pod it runs in.
//
// The image's program is the one that the package is linked into, which may be large. A process that was
// started as the image's entry point is taken over by the package's init function, before most other packages
// have been initialised: the workload then needs a tenth of the memory, and fits small memory limits.
package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// Repository is the built-in image's name; every tag of it is the same image.
	Repository = "ctlplane.local/demo"
	// Program is where the image has the ctlplane binary, and Command the argument that starts the server.
	Program = "/ctlplane"
	Command = "demo-server"

	defaultPort = "8080"
	// drainTime is how long a server that was asked to end finishes the requests that it has.
	drainTime = 5 * time.Second
)

func init() {
	if len(os.Args) == 2 && os.Args[0] == Program && os.Args[1] == Command {
		os.Exit(Main())
	}
}

// Main serves until SIGTERM or SIGINT, then finishes the requests that it has. It returns the exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	port := os.Getenv("PORT")
	if port == "" {
		port = defaultPort
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("", port))
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	fmt.Printf("demo: %s serves on %s\n", podName(), listener.Addr())
	if err := Serve(ctx, listener); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	fmt.Println("demo: ended")
	return 0
}

// Serve answers on listener until ctx ends and the requests that had begun are answered.
//
//	/         the pod's name
//	/healthz  ok
//	/env?     the environment, sorted; /env?name=X the one variable
func Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: Handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err := server.Shutdown(drain)
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Handler answers the demo's requests.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Printf("demo: %s %s from %s\n", r.Method, r.URL.Path, r.RemoteAddr)
		fmt.Fprintln(w, podName())
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /env", func(w http.ResponseWriter, r *http.Request) {
		if name := r.URL.Query().Get("name"); name != "" {
			fmt.Fprintln(w, os.Getenv(name))
			return
		}
		fmt.Fprintln(w, strings.Join(slices.Sorted(slices.Values(os.Environ())), "\n"))
	})
	return mux
}

func podName() string {
	if name := os.Getenv("HOSTNAME"); name != "" {
		return name
	}
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
