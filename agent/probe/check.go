package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilexec "k8s.io/utils/exec"
)

const (
	maxBody      = 10 << 10 // bytes of an answer that are read
	maxRedirects = 10
	userAgent    = "kube-probe/ctlplane"
)

// Exec executes a command in the container that is probed; a utilexec.ExitError tells of the command's own failure.
type Exec func(ctx context.Context, command []string) (output []byte, err error)

// Target is a container as the node reaches it.
type Target struct {
	// IP is the pod's address.
	IP    string
	Ports []corev1.ContainerPort
	Exec  Exec
}

// For gives the check that a probe or a lifecycle hook asks for.
func (t Target) For(handler corev1.ProbeHandler) Check {
	switch {
	case handler.Exec != nil:
		return t.exec(handler.Exec.Command)
	case handler.HTTPGet != nil:
		return t.http(handler.HTTPGet)
	case handler.TCPSocket != nil:
		return t.tcp(handler.TCPSocket)
	case handler.GRPC != nil:
		return t.grpc(handler.GRPC)
	}
	return func(context.Context) error {
		return errors.New("this kind of probe is not supported: use exec, httpGet, tcpSocket or grpc")
	}
}

func (t Target) exec(command []string) Check {
	return func(ctx context.Context) error {
		output, err := t.Exec(ctx, command)
		if exit := utilexec.ExitError(nil); errors.As(err, &exit) && len(output) > 0 {
			return fmt.Errorf("%s", strings.TrimSpace(string(output[:min(len(output), maxBody)])))
		}
		return err
	}
}

func (t Target) tcp(action *corev1.TCPSocketAction) Check {
	return func(ctx context.Context) error {
		port, err := t.port(action.Port)
		if err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(t.host(action.Host), port))
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

func (t Target) http(action *corev1.HTTPGetAction) Check {
	return func(ctx context.Context) error {
		port, err := t.port(action.Port)
		if err != nil {
			return err
		}
		path, err := url.Parse(action.Path)
		if err != nil {
			return err
		}
		scheme := strings.ToLower(string(action.Scheme))
		if scheme == "" {
			scheme = "http"
		}
		to := url.URL{Scheme: scheme, Host: net.JoinHostPort(t.host(action.Host), port), Path: path.Path, RawQuery: path.RawQuery}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
		if err != nil {
			return err
		}
		request.Header.Set("User-Agent", userAgent)
		request.Header.Set("Accept", "*/*")
		for _, header := range action.HTTPHeaders {
			if strings.EqualFold(header.Name, "Host") {
				request.Host = header.Value
				continue
			}
			request.Header.Add(header.Name, header.Value)
		}
		return get(request)
	}
}

// get succeeds on any answer from 200 to 399. Each probe has a connection of its own: a pooled one would
// tell about the container's past.
func get(request *http.Request) error {
	transport := &http.Transport{
		DisableKeepAlives: true,
		Proxy:             nil,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // the probe asks whether it answers, not who it is
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: stayOnHost}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return err
	}
	if response.StatusCode >= 200 && response.StatusCode < 400 {
		return nil
	}
	return fmt.Errorf("HTTP probe failed with statuscode: %d%s", response.StatusCode, excerpt(body))
}

// stayOnHost follows redirects within the container; one that leads elsewhere is a good answer itself.
func stayOnHost(request *http.Request, via []*http.Request) error {
	if request.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	if len(via) >= maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	return nil
}

func excerpt(body []byte) string {
	text := strings.TrimSpace(string(body[:min(len(body), 200)]))
	if text == "" {
		return ""
	}
	return ": " + text
}

func (t Target) host(given string) string {
	if given != "" {
		return given
	}
	return t.IP
}

// port is a number, or the name of one of the container's ports.
func (t Target) port(port intstr.IntOrString) (string, error) {
	if port.Type == intstr.Int {
		return strconv.Itoa(port.IntValue()), nil
	}
	for _, p := range t.Ports {
		if p.Name == port.StrVal {
			return strconv.Itoa(int(p.ContainerPort)), nil
		}
	}
	if _, err := strconv.ParseUint(port.StrVal, 10, 16); err == nil {
		return port.StrVal, nil
	}
	return "", fmt.Errorf("the container has no port named %q", port.StrVal)
}
