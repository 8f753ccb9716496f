// Package links is the network between the members of a cluster: every connection from one to another passes through a
// proxy, which can hold back, delay, lose and refuse what one member sends to another. It looks into nothing that passes.
package links

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"
)

// Net is the network between members, which are known by their numbers.
//
//  1. A link has a direction: what a member sends to another on any connection, whoever began that, goes by the link from the
//     one to the other.
//  2. What passes a link comes in its order and without a gap, or its connection is reset: as TCP has it.
type Net struct {
	owner func(port int) int

	mu      sync.Mutex
	changed chan struct{} // closed when a link changes
	links   map[pair]State
	conns   map[*conn]struct{}
	proxies []*proxy
	closed  bool
	running sync.WaitGroup
}

type pair struct{ from, to int }

// State is how a link is. The zero value passes everything at once.
type State struct {
	// Held keeps what is sent until the link is no longer so, and delivers it then.
	Held bool
	// Rejected refuses new connections from the one member to the other.
	Rejected bool
	// Delay is how long everything takes, and Jitter up to how much longer.
	Delay, Jitter time.Duration
	// Loss is the probability with which something sent stays away: the connection stalls as long as a sender takes to send
	// again, or it is reset.
	Loss float64
}

const (
	// resend is how long a loss stalls a connection.
	resend = 250 * time.Millisecond
	// borrowed is how long another program may have the port of a member that refuses connections: one of another test, say.
	borrowed = 10 * time.Second
)

// New makes a network. owner tells which member the local port of a connection belongs to, -1 if none.
func New(owner func(port int) int) *Net {
	return &Net{owner: owner, changed: make(chan struct{}), links: map[pair]State{}, conns: map[*conn]struct{}{}}
}

// Add makes the proxy before a member: who connects to address comes to target.
func (n *Net) Add(address, target string) error {
	p := &proxy{net: n, number: len(n.proxies), address: address, target: target}
	if err := p.listen(); err != nil {
		return err
	}
	n.proxies = append(n.proxies, p)
	return nil
}

// Set makes a link as it is from now on.
func (n *Net) Set(from, to int, s State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[pair{from, to}] = s
	close(n.changed)
	n.changed = make(chan struct{})
}

// Reset resets all connections between two members.
func (n *Net) Reset(a, b int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.link == (pair{a, b}) || c.link == (pair{b, a}) {
			c.reset()
		}
	}
}

// Refuse has the kernel refuse all connections to a member, as where nobody listens, and resets those that there are.
func (n *Net) Refuse(to int) {
	n.proxies[to].refuse()
	for from := range n.proxies {
		n.reset(pair{from, to})
	}
}

// Accept ends Refuse.
func (n *Net) Accept(to int) error { return n.proxies[to].listen() }

func (n *Net) reset(link pair) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.link == link {
			c.reset()
		}
	}
}

// Heal makes all links as they were at first.
func (n *Net) Heal() error {
	for i := range n.proxies {
		if err := n.Accept(i); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.links)
	close(n.changed)
	n.changed = make(chan struct{})
	return nil
}

// Close ends all connections.
func (n *Net) Close() {
	for _, p := range n.proxies {
		p.refuse()
	}
	n.mu.Lock()
	n.closed = true
	for c := range n.conns {
		c.reset()
	}
	close(n.changed)
	n.changed = make(chan struct{})
	n.mu.Unlock()
	n.running.Wait()
}

func (n *Net) state(link pair) (State, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links[link], n.changed
}

// proxy is what listens before a member.
type proxy struct {
	net             *Net
	number          int
	address, target string

	mu       sync.Mutex
	listener net.Listener // nil: refuses
}

func (p *proxy) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", p.address)
	for end := time.Now().Add(borrowed); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); {
		time.Sleep(resend)
		listener, err = net.Listen("tcp", p.address)
	}
	if err != nil {
		return fmt.Errorf("the proxy before member %d: %w", p.number, err)
	}
	p.listener = listener
	p.net.running.Go(func() { p.accept(listener) })
	return nil
}

func (p *proxy) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close() // it only has to be gone
		p.listener = nil
	}
}

func (p *proxy) accept(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		p.net.running.Go(func() { p.serve(c.(*net.TCPConn)) })
	}
}

// serve passes one connection on, until it ends at either side.
func (p *proxy) serve(near *net.TCPConn) {
	defer near.Close()
	from := p.net.owner(near.RemoteAddr().(*net.TCPAddr).Port)
	link := pair{from, p.number}
	state, _ := p.net.state(link)
	if from < 0 || state.Rejected {
		_ = near.SetLinger(0) // closing resets it
		return
	}
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = near.SetLinger(0)
		return
	}
	defer far.Close()
	c := &conn{link: link, near: near, far: far.(*net.TCPConn), ended: make(chan struct{})}
	if !p.net.keep(c) {
		return
	}
	defer p.net.drop(c)
	var pumps sync.WaitGroup
	pumps.Go(func() { c.pump(p.net, near, c.far, link) })
	pumps.Go(func() { c.pump(p.net, c.far, near, pair{link.to, link.from}) })
	pumps.Wait()
}

func (n *Net) keep(c *conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[c] = struct{}{}
	return !n.closed
}

func (n *Net) drop(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// conn is a connection that passes a proxy. link is from the member that began it to the other.
type conn struct {
	link      pair
	near, far *net.TCPConn
	once      sync.Once
	ended     chan struct{}
}

func (c *conn) reset() {
	c.once.Do(func() {
		close(c.ended)
		for _, side := range []*net.TCPConn{c.near, c.far} {
			_ = side.SetLinger(0)
			_ = side.Close() // it only has to be gone
		}
	})
}

// chunk is something that was sent, and when it may arrive.
type chunk struct {
	data []byte
	due  time.Time
}

// pump carries what one side sends to the other.
func (c *conn) pump(n *Net, from, to *net.TCPConn, link pair) {
	chunks := make(chan chunk, 1024)
	var writer sync.WaitGroup
	writer.Go(func() {
		for next := range chunks {
			if !c.deliver(n, to, link, next) {
				c.reset()
			}
		}
		_ = to.CloseWrite() // the other side may be gone
	})
	defer writer.Wait()
	defer close(chunks)
	buffer := make([]byte, 64<<10)
	for {
		size, err := from.Read(buffer)
		if size > 0 {
			state, _ := n.state(link)
			due := time.Now().Add(state.Delay)
			if state.Jitter > 0 {
				due = due.Add(rand.N(state.Jitter))
			}
			if state.Loss > 0 && rand.Float64() < state.Loss {
				if rand.IntN(4) == 0 {
					c.reset()
					return
				}
				due = due.Add(resend)
			}
			select {
			case chunks <- chunk{append([]byte(nil), buffer[:size]...), due}:
			case <-c.ended:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// deliver writes a chunk when it is due and the link lets it through.
func (c *conn) deliver(n *Net, to *net.TCPConn, link pair, next chunk) bool {
	if wait := time.Until(next.due); wait > 0 {
		select {
		case <-time.After(wait):
		case <-c.ended:
			return false
		}
	}
	for {
		state, changed := n.state(link)
		if !state.Held {
			break
		}
		select {
		case <-changed:
		case <-c.ended:
			return false
		}
	}
	_, err := to.Write(next.data)
	return err == nil
}
