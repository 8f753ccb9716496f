package registry

// watcherSet finds the watchers that a change may concern, without asking each one: a watcher whose
// selector pins the object's name or node waits under that value. The cache's lock guards it.
type watcherSet struct {
	byTrigger map[trigger]map[*watcher]struct{}
}

// trigger is a value that a watcher's selector pins; the zero trigger is of watchers that pin none.
type trigger struct {
	field, value string
}

func newWatcherSet() watcherSet {
	return watcherSet{byTrigger: map[trigger]map[*watcher]struct{}{}}
}

func (s *watcherSet) add(w *watcher) {
	t := w.selection.trigger()
	if s.byTrigger[t] == nil {
		s.byTrigger[t] = map[*watcher]struct{}{}
	}
	s.byTrigger[t][w] = struct{}{}
}

func (s *watcherSet) remove(w *watcher) {
	t := w.selection.trigger()
	delete(s.byTrigger[t], w)
	if len(s.byTrigger[t]) == 0 {
		delete(s.byTrigger, t)
	}
}

// queue hands a change to the watchers that it may concern.
func (s *watcherSet) queue(k *kind, ch *change) {
	if len(s.byTrigger) == 0 {
		return
	}
	s.queueAt(trigger{}, ch)
	e := ch.now
	if e == nil {
		e = ch.was
	}
	s.queueAt(trigger{nameField, e.object.GetName()}, ch)
	node, ok := k.fields[nodeNameField]
	if !ok {
		return
	}
	now := node(e.object)
	s.queueAt(trigger{nodeNameField, now}, ch)
	if ch.was != nil {
		if was := node(ch.was.object); was != now {
			s.queueAt(trigger{nodeNameField, was}, ch)
		}
	}
}

func (s *watcherSet) queueAt(t trigger, ch *change) {
	for w := range s.byTrigger[t] {
		w.push(ch)
	}
}

func (s *watcherSet) expireAll() {
	for _, set := range s.byTrigger {
		for w := range set {
			w.expire()
		}
	}
}

// forget takes a watcher that has ended out of the cache's set.
func (c *cache) forget(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers.remove(w)
}
