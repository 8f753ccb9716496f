package dev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ctlplane/ctlplane/bench"
	"github.com/ctlplane/ctlplane/examples"
)

// demo is one run of the tour.
type demo struct {
	*Cluster
	out   io.Writer
	began time.Time
	// api reaches the API server of a master that the tour does not kill.
	api *kubernetes.Clientset
	// kubeconfig is that master's.
	kubeconfig string
}

// stepPatience bounds each wait of the tour.
const stepPatience = 60 * time.Second

// Demo takes a running cluster of three masters and two nodes through a workload's life: it runs the web
// example, loses its leader, loses a node, scales, and measures its writes. The account goes to out.
func Demo(ctx context.Context, c *Cluster, out io.Writer) error {
	d := &demo{Cluster: c, out: out, began: time.Now()}
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"connect", d.connect},
		{"deploy examples/web.yaml", d.deploy},
		{"reach each replica through the service", d.reach},
		{"kill the leader", d.killLeader},
		{"kill a node", d.killNode},
		{"scale to six", d.scale},
		{"measure writes", d.bench},
	}
	for _, step := range steps {
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%6.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// connect uses a follower's API server, so that the tour's own connection survives the leader.
func (d *demo) connect(ctx context.Context) error {
	leader, err := d.Leader(ctx)
	if err != nil {
		return err
	}
	other := slices.IndexFunc(d.Masters, func(m *Master) bool { return m != leader })
	d.kubeconfig = d.Masters[other].DataDir + "/admin.kubeconfig"
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		return err
	}
	if d.api, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	ready := func(ctx context.Context) (bool, error) {
		nodes, err := d.api.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		return len(slices.DeleteFunc(nodes.Items, func(n corev1.Node) bool { return !nodeReady(&n) })) == len(d.Nodes), nil
	}
	if err := until(ctx, "all nodes are ready", ready); err != nil {
		return err
	}
	d.say("%d masters (leader %s) and %d nodes are ready", len(d.Masters), leader.Name, len(d.Nodes))
	return nil
}

func (d *demo) deploy(ctx context.Context) error {
	begin := time.Now()
	if _, err := d.command(ctx, examples.Web, "apply", "-f", "-"); err != nil {
		return err
	}
	if _, err := d.command(ctx, nil, "rollout", "status", "deployment/web", "--timeout", stepPatience.String()); err != nil {
		return err
	}
	pods, err := d.pods(ctx)
	if err != nil {
		return err
	}
	d.say("the web deployment's %d replicas run, %.1f s after apply: %s", len(pods), time.Since(begin).Seconds(), placement(pods))
	return nil
}

// reach asks the service from inside the first living node until each replica has answered.
func (d *demo) reach(ctx context.Context) error {
	service, err := d.api.CoreV1().Services(metav1.NamespaceDefault).Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		return err
	}
	pods, err := d.pods(ctx)
	if err != nil {
		return err
	}
	node := d.Nodes[slices.IndexFunc(d.Nodes, func(n *Node) bool { return n.Running() })]
	answered := map[string]int{}
	asked := 0
	all := func(ctx context.Context) (bool, error) {
		asked++
		name, err := d.ask(ctx, node, "http://"+service.Spec.ClusterIP)
		if err != nil {
			return false, err
		}
		answered[name]++
		return len(answered) >= len(pods), nil
	}
	if err := until(ctx, "every replica answers", all); err != nil {
		return err
	}
	d.say("service web at %s: all %d replicas answered within %d requests from node %s", service.Spec.ClusterIP, len(answered), asked, node.Name)
	return nil
}

// ask makes one request, on a connection of its own, from a node's network.
func (d *demo) ask(ctx context.Context, node *Node, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DialContext: d.dialer(node), DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	return strings.TrimSpace(string(body)), err
}

// killLeader kills the leader while it is written to and tells how long no write succeeded.
func (d *demo) killLeader(ctx context.Context) error {
	leader, err := d.Leader(ctx)
	if err != nil {
		return err
	}
	leader.Kill()
	gap, err := d.nextWrite(ctx)
	if err != nil {
		return err
	}
	successor, err := d.Leader(ctx)
	if err != nil {
		return err
	}
	d.say("leader %s killed with -9: the next write was acknowledged %d ms later, by %s", leader.Name, gap.Milliseconds(), successor.Name)
	if err := d.StartMaster(leader); err != nil {
		return err
	}
	d.say("%s started again and caught up", leader.Name)
	return nil
}

// killNode kills the node with the most replicas and waits until they run elsewhere.
func (d *demo) killNode(ctx context.Context) error {
	before, err := d.pods(ctx)
	if err != nil {
		return err
	}
	victim := d.Nodes[len(d.Nodes)-1]
	begin := time.Now()
	if err := d.KillNode(victim); err != nil {
		return err
	}
	elsewhere := func(ctx context.Context) (bool, error) {
		pods, err := d.pods(ctx)
		if err != nil {
			return false, err
		}
		pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return p.Spec.NodeName == victim.Name || !podReady(&p) })
		return len(pods) >= len(before), nil
	}
	if err := until(ctx, "all replicas run elsewhere", elsewhere); err != nil {
		return err
	}
	took := time.Since(begin)
	pods, err := d.pods(ctx)
	if err != nil {
		return err
	}
	d.say("node %s killed: all replicas ran elsewhere %.1f s later: %s", victim.Name, took.Seconds(), placement(pods))
	return d.StartNode(victim)
}

func (d *demo) scale(ctx context.Context) error {
	begin := time.Now()
	if _, err := d.command(ctx, nil, "scale", "deployment/web", "--replicas", "6"); err != nil {
		return err
	}
	if _, err := d.command(ctx, nil, "rollout", "status", "deployment/web", "--timeout", stepPatience.String()); err != nil {
		return err
	}
	pods, err := d.pods(ctx)
	if err != nil {
		return err
	}
	d.say("scaled to six in %.1f s: %s", time.Since(begin).Seconds(), placement(pods))
	return nil
}

func (d *demo) bench(ctx context.Context) error {
	config, err := d.Masters[0].Access.Config()
	if err != nil {
		return err
	}
	report, err := bench.Measure(ctx, &bench.Writes{}, bench.Options{
		Endpoints: config.Endpoints, TLS: config.TLS, ValueSize: 256, Duration: 5 * time.Second,
	})
	if err != nil {
		return err
	}
	d.say("bench writes: %.0f durable replicated writes a second from %d clients, p50 %.1f ms, p99 %.1f ms",
		report.Rate, report.Settings.Clients, report.Latency.P50, report.Latency.P99)
	return nil
}

// command runs the binary as a user of the cluster would.
func (d *demo) command(ctx context.Context, input []byte, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, d.opts.Binary, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+d.kubeconfig)
	command.Stdin = bytes.NewReader(input)
	var complaint bytes.Buffer
	command.Stderr = &complaint
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("ctlplane %s: %w: %s%s", strings.Join(args, " "), err, complaint.String(), out)
	}
	return out, nil
}

// pods lists the replicas that are not on their way out.
func (d *demo) pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := d.api.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), nil
}

// placement says how many pods are on which node.
func placement(pods []corev1.Pod) string {
	count := map[string]int{}
	for _, pod := range pods {
		count[pod.Spec.NodeName]++
	}
	var parts []string
	for node, n := range count {
		parts = append(parts, fmt.Sprintf("%d on %s", n, node))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func nodeReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// until waits for a condition; what last stood in its way is in the error.
func until(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := condition(ctx)
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waited for: %s: %w", what, ctx.Err()), err)
		case <-tick.C:
		}
	}
}
