package rest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/apiserver/auth"
)

const (
	logSubresource = "log"
	// agentPort is where a node's agent listens unless the node says otherwise.
	agentPort = 10250
)

// serveLog streams a container's log from the agent of the pod's node.
func (h *Handler) serveLog(w http.ResponseWriter, r *http.Request, t target) {
	stream, err := h.openLog(r, t)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer stream.Close()
	h.metrics.longRunning.Add(1)
	defer h.metrics.longRunning.Add(-1)
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	if control.Flush() != nil || r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(&flusher{w, control}, stream); err != nil && r.Context().Err() == nil {
		h.logger.Debug("a log was not sent whole", "path", r.URL.Path, "error", err)
	}
}

func (h *Handler) openLog(r *http.Request, t target) (io.ReadCloser, error) {
	ctx := r.Context()
	if err := h.objects.AuthorizeSubresource(ctx, "get", t.GroupVersionResource, t.namespace, t.name, t.subresource); err != nil {
		return nil, err
	}
	query, err := logQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	// Whoever may read a log may have it found: the pod and its node are read as the server itself.
	ctx = auth.WithUser(ctx, auth.System("apiserver"))
	obj, err := h.objects.Get(ctx, t.GroupVersionResource, t.namespace, t.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod := obj.(*corev1.Pod)
	container, err := chooseContainer(pod, r.URL.Query().Get("container"))
	if err != nil {
		return nil, err
	}
	address, err := h.nodeAddress(ctx, pod)
	if err != nil {
		return nil, err
	}
	return h.opts.Nodes.Open(r.Context(), address, "/containerLogs/"+t.namespace+"/"+t.name+"/"+url.PathEscape(container), query)
}

// chooseContainer is the container that is meant: the one named, or the only one.
func chooseContainer(pod *corev1.Pod, name string) (string, error) {
	var names, initial []string
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Name)
	}
	for i := range pod.Spec.InitContainers {
		initial = append(initial, pod.Spec.InitContainers[i].Name)
	}
	switch {
	case name == "" && len(names) == 1:
		return names[0], nil
	case name == "":
		text := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(names, " "))
		if len(initial) > 0 {
			text += fmt.Sprintf(" or one of the init containers: [%s]", strings.Join(initial, " "))
		}
		return "", badRequest("%s", text)
	case !slices.Contains(names, name) && !slices.Contains(initial, name):
		return "", badRequest("container %s is not valid for pod %s", name, pod.Name)
	}
	return name, nil
}

// nodeAddress is where the agent of the pod's node listens.
func (h *Handler) nodeAddress(ctx context.Context, pod *corev1.Pod) (string, error) {
	if pod.Spec.NodeName == "" {
		return "", badRequest("pod %s does not have a host assigned", pod.Name)
	}
	obj, err := h.objects.Get(ctx, corev1.SchemeGroupVersion.WithResource("nodes"), "", pod.Spec.NodeName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	node := obj.(*corev1.Node)
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	if port == 0 {
		port = agentPort
	}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, address := range node.Status.Addresses {
			if address.Type == kind {
				return net.JoinHostPort(address.Address, strconv.Itoa(int(port))), nil
			}
		}
	}
	return "", badRequest("node %s has told no address: its agent has not reported its status yet", node.Name)
}

// flusher sends each piece on as it comes.
type flusher struct {
	w       io.Writer
	control *http.ResponseController
}

// Write implements io.Writer.
func (f *flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, f.control.Flush()
}
