package scheduler

import (
	"maps"
	"slices"
)

// snapshot is the scheduling loop's own copy of the cluster's nodes, on which it places without a lock.
// A refresh copies the nodes that have changed since the last one, and no others.
type snapshot struct {
	nodes []*NodeInfo
	index map[string]int // of each node in nodes
	start int            // where passes begin, so that equal nodes take turns
}

func newSnapshot() *snapshot { return &snapshot{index: map[string]int{}} }

// refresh brings the snapshot up to what the cluster is now.
func (c *cluster) refresh(s *snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.dirty)) {
		if info, ok := c.nodes[name]; ok && info.Node != nil {
			s.set(name, info)
		} else {
			s.remove(name)
		}
	}
	clear(c.dirty)
}

func (s *snapshot) set(name string, info *NodeInfo) {
	i, ok := s.index[name]
	if !ok {
		i = len(s.nodes)
		s.index[name] = i
		s.nodes = append(s.nodes, nil)
	}
	s.nodes[i] = info.clone()
}

func (s *snapshot) remove(name string) {
	i, ok := s.index[name]
	if !ok {
		return
	}
	last := len(s.nodes) - 1
	s.nodes[i] = s.nodes[last]
	s.index[s.nodes[i].Node.Name] = i
	s.nodes[last] = nil
	s.nodes = s.nodes[:last]
	delete(s.index, name)
}
