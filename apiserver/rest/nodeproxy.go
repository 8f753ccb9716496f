package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NodeProxy reaches the agents of nodes.
type NodeProxy interface {
	// Open asks the agent at address, a host and port, for what is at path, and streams its answer. An
	// answer other than success is an error that clients understand.
	Open(ctx context.Context, address, path string, query url.Values) (io.ReadCloser, error)
}

// nodeTimeout bounds the wait for an agent to answer; what it then streams may take as long as it likes.
const nodeTimeout = 10 * time.Second

// nodeErrorBytes is how much of an agent's error is passed on.
const nodeErrorBytes = 4096

// NodeClient is a NodeProxy over HTTPS.
type NodeClient struct{ client *http.Client }

// NewNodeClient makes a client that shows the certificate in config, and trusts the agents that it trusts.
func NewNodeClient(config *tls.Config) *NodeClient {
	return &NodeClient{&http.Client{Transport: &http.Transport{
		TLSClientConfig:       config,
		DialContext:           (&net.Dialer{Timeout: nodeTimeout}).DialContext,
		TLSHandshakeTimeout:   nodeTimeout,
		ResponseHeaderTimeout: nodeTimeout,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}}}
}

// Open implements NodeProxy.
func (c *NodeClient) Open(ctx context.Context, address, path string, query url.Values) (io.ReadCloser, error) {
	u := url.URL{Scheme: "https", Host: address, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, nodeUnreachable(ctx, address, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, nodeErrorBytes))
	if err != nil {
		return nil, nodeUnreachable(ctx, address, err)
	}
	return nil, nodeError(resp.StatusCode, strings.TrimSpace(string(text)))
}

// Close closes the connections that are idle.
func (c *NodeClient) Close() { c.client.CloseIdleConnections() }

func nodeUnreachable(ctx context.Context, address string, err error) error {
	if ctx.Err() != nil {
		return apierrors.NewTimeoutError("the request ended before the node's agent answered", 0)
	}
	var cause *url.Error
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusBadGateway, Reason: metav1.StatusReasonInternalError,
		Message: fmt.Sprintf("the agent at %s does not answer: %v", address, err),
	}}
}

// nodeError passes on what the agent has to say.
func nodeError(code int, text string) error {
	reason := metav1.StatusReasonUnknown
	switch code {
	case http.StatusNotFound:
		reason = metav1.StatusReasonNotFound
	case http.StatusBadRequest:
		reason = metav1.StatusReasonBadRequest
	case http.StatusUnauthorized, http.StatusForbidden:
		code, text = http.StatusBadGateway, "the node's agent refuses this server: "+text
		reason = metav1.StatusReasonInternalError
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: text}}
}
