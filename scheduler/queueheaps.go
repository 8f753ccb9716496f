package scheduler

// groupKey names the active pods that are placed together.
type groupKey struct {
	shape    string
	priority int32
}

// group is the active pods of one shape and priority, by arrival; never empty.
type group struct {
	key      groupKey
	pods     []*entry
	position int // in the queue's order
}

// groupHeap has the group first whose turn it is.
type groupHeap []*group

func (h groupHeap) Len() int { return len(h) }
func (h groupHeap) Less(i, j int) bool {
	if h[i].key.priority != h[j].key.priority {
		return h[i].key.priority > h[j].key.priority
	}
	return h[i].pods[0].arrival < h[j].pods[0].arrival
}
func (h groupHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}
func (h *groupHeap) Push(x any) {
	g := x.(*group)
	g.position = len(*h)
	*h = append(*h, g)
}
func (h *groupHeap) Pop() any {
	last := len(*h) - 1
	g := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return g
}

// waitingHeap has the entry first that is due first.
type waitingHeap []*entry

func (h waitingHeap) Len() int           { return len(h) }
func (h waitingHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h waitingHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}
func (h *waitingHeap) Push(x any) {
	e := x.(*entry)
	e.position = len(*h)
	*h = append(*h, e)
}
func (h *waitingHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
