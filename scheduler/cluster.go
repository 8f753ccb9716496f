package scheduler

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/scheduling"
)

// cluster is what is known of nodes and of the pods on them, seen or assumed.
//
//  1. A pod counts on one node at most, from the moment that it is assumed there or seen there until
//     it is forgotten or seen gone. What is seen overrules what is assumed.
//  2. Every change of a node gives it a new generation; nodes changed since the last refresh are in dirty.
//  3. Pods may be seen before their node: such a node takes part once it is seen itself.
//
// It is safe for concurrent use.
type cluster struct {
	mu         sync.Mutex
	generation int64
	nodes      map[string]*NodeInfo
	pods       map[types.UID]*placedPod
	dirty      map[string]struct{}
}

type placedPod struct {
	info    *PodInfo
	node    string
	assumed bool
}

func newCluster() *cluster {
	return &cluster{nodes: map[string]*NodeInfo{}, pods: map[types.UID]*placedPod{}, dirty: map[string]struct{}{}}
}

// anew gives an empty snapshot, which the next refresh fills with all nodes.
func (c *cluster) anew() *snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.nodes {
		c.dirty[name] = struct{}{}
	}
	return newSnapshot()
}

// setNode takes over a node that was seen.
func (c *cluster) setNode(node *corev1.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(node.Name).SetNode(node)
}

// removeNode forgets a node that is gone. Its pods stay known until they are gone too.
func (c *cluster) removeNode(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if info, ok := c.nodes[name]; ok {
		c.change(name)
		info.Node = nil
		c.dropIfEmpty(name)
	}
}

// setPod takes over a pod that was seen on a node.
func (c *cluster) setPod(info *PodInfo, node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uncount(info.Pod.UID)
	c.count(&placedPod{info: info, node: node})
}

// removePod forgets a pod that is gone, and says where it was.
func (c *cluster) removePod(uid types.UID) (node string, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uncount(uid)
}

// assume counts a pod on a node before it is seen there; false when it is counted already.
func (c *cluster) assume(info *PodInfo, node string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.pods[info.Pod.UID]; ok {
		c.change(node) // the snapshot counts the pod there, which the next refresh has to undo
		return false
	}
	c.count(&placedPod{info: info, node: node, assumed: true})
	return true
}

// forget takes back an assumption, unless the pod was seen in the meantime.
func (c *cluster) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pod, ok := c.pods[uid]; ok && pod.assumed {
		c.uncount(uid)
	}
}

// counts tells whether a pod has a node, seen or assumed.
func (c *cluster) counts(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.pods[uid]
	return ok
}

// feasible tells whether a node can take a pod as things are.
func (c *cluster) feasible(pod *PodInfo, node string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, ok := c.nodes[node]
	return ok && info.Node != nil && len(scheduling.ChecksFor(&pod.PodInfo).Run(&info.NodeInfo)) == 0
}

func (c *cluster) count(pod *placedPod) {
	c.pods[pod.info.Pod.UID] = pod
	c.change(pod.node).add(pod.info)
}

func (c *cluster) uncount(uid types.UID) (node string, known bool) {
	pod, ok := c.pods[uid]
	if !ok {
		return "", false
	}
	delete(c.pods, uid)
	c.change(pod.node).remove(pod.info)
	c.dropIfEmpty(pod.node)
	return pod.node, true
}

// change finds or makes the state of a node that is about to change.
func (c *cluster) change(name string) *NodeInfo {
	info, ok := c.nodes[name]
	if !ok {
		info = &NodeInfo{}
		c.nodes[name] = info
	}
	c.generation++
	info.generation = c.generation
	c.dirty[name] = struct{}{}
	return info
}

func (c *cluster) dropIfEmpty(name string) {
	if info := c.nodes[name]; info.Node == nil && info.Pods == 0 {
		delete(c.nodes, name)
	}
}
