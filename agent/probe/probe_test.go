package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	testclock "k8s.io/utils/clock/testing"
	utilexec "k8s.io/utils/exec"
)

// asked runs a runner on a fake clock; each check's answer comes from answers, each result goes to results.
func asked(t *testing.T, spec *corev1.Probe) (clock *testclock.FakeClock, answers chan error, results chan Result) {
	t.Helper()
	clock = testclock.NewFakeClock(time.Unix(1000, 0))
	answers, results = make(chan error), make(chan Result, 16)
	r := &Runner{
		Kind: Readiness, Spec: spec, Started: clock.Now(), Clock: clock, Gate: func() bool { return true },
		Check:  func(context.Context) error { return <-answers },
		Failed: func(Kind, error) {}, Report: func(r Result) { results <- r },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return clock, answers, results
}

// next lets one period pass and answers the check that comes then.
func next(t *testing.T, clock *testclock.FakeClock, answers chan error, answer error) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); ; {
		clock.Step(time.Second)
		select {
		case answers <- answer:
			return
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatal("nothing was asked")
		}
	}
}

func TestThresholds(t *testing.T) {
	clock, answers, results := asked(t, &corev1.Probe{PeriodSeconds: 1, SuccessThreshold: 2, FailureThreshold: 3})
	bad := errors.New("bad")
	for _, step := range []struct {
		answer error
		want   string
	}{
		{nil, ""}, {bad, ""}, {nil, ""}, {nil, "success"}, {nil, ""}, {bad, ""}, {bad, ""}, {bad, "failure"}, {bad, "failure"}, {nil, ""}, {nil, "success"},
	} {
		next(t, clock, answers, step.answer)
		// The next check is asked only after this one's result was told.
		got := ""
		if step.want != "" {
			got = map[bool]string{true: "success", false: "failure"}[(<-results).Success]
		}
		if got != step.want {
			t.Fatalf("after %v: %q, want %q", step.answer, got, step.want)
		}
	}
	if len(results) != 0 {
		t.Errorf("%d results too many", len(results))
	}
}

func TestInitialDelay(t *testing.T) {
	clock, answers, results := asked(t, &corev1.Probe{InitialDelaySeconds: 30, PeriodSeconds: 1})
	begin := clock.Now()
	next(t, clock, answers, nil)
	if waited := clock.Since(begin); waited < 30*time.Second {
		t.Errorf("asked after %v", waited)
	}
	<-results
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Who") != "me" || r.Host != "name.example" {
			http.Error(w, "headers", http.StatusBadRequest)
		}
	})
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of order", http.StatusInternalServerError)
	})
	mux.Handle("/away", http.RedirectHandler("http://192.0.2.1/", http.StatusFound))
	mux.Handle("/here", http.RedirectHandler("/bad", http.StatusFound))
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	defer server.Close()
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(address.Port())
	if err != nil {
		t.Fatal(err)
	}
	target := Target{IP: address.Hostname(), Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(number)}}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for path, want := range map[string]string{"/ok": "", "/bad": "statuscode: 500: out of order", "/away": "", "/here": "statuscode: 500", "/none": "statuscode: 404", "/slow": "deadline"} {
		check := target.For(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: path, Port: intstr.FromString("web"), HTTPHeaders: []corev1.HTTPHeader{{Name: "X-Who", Value: "me"}, {Name: "Host", Value: "name.example"}},
		}})
		if path == "/slow" {
			short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
			err = check(short)
			stop()
		} else {
			err = check(ctx)
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if err := target.For(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(number))}})(ctx); err != nil {
		t.Error(err)
	}
	if err := target.For(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("nobody")}})(ctx); err == nil {
		t.Error("a port without a name was found")
	}
}

func TestTCPRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	check := Target{IP: "127.0.0.1"}.For(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(port))}})
	if err := check(t.Context()); err == nil {
		t.Error("a closed port answered")
	}
}

func TestExecTellsTheOutput(t *testing.T) {
	target := Target{Exec: func(context.Context, []string) ([]byte, error) {
		return []byte("disk is full\n"), utilexec.CodeExitError{Err: errors.New("exit"), Code: 1}
	}}
	err := target.For(corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}})(t.Context())
	if err == nil || err.Error() != "disk is full" {
		t.Errorf("error %v", err)
	}
	if err := (Target{}).For(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{}})(t.Context()); err == nil {
		t.Error("a probe that is not supported succeeded")
	}
}
