package peers

import "github.com/prometheus/client_golang/prometheus"

// Bytes count what passes; the zero value counts nothing.
type Bytes struct{ Sent, Received prometheus.Counter }

func (p Bytes) read(n int) {
	if p.Received != nil {
		p.Received.Add(float64(n))
	}
}

func (p Bytes) wrote(n int) {
	if p.Sent != nil {
		p.Sent.Add(float64(n))
	}
}
