package bench

import (
	"math/rand/v2"
)

// Payload makes the keys and values of one client. Not safe for concurrent use.
type Payload struct {
	rng      *rand.Rand
	keySpace int
	keySize  int
	noise    []byte // shared by all clients; values are windows on it
	size     int
}

// noiseBytes is how much random data the values are cut from: enough that no block compressor finds them again.
const noiseBytes = 1 << 20

func newNoise(o Options) []byte {
	noise := make([]byte, noiseBytes+o.ValueSize)
	rng := rand.NewChaCha8([32]byte{byte(o.Seed)})
	_, _ = rng.Read(noise) // never fails
	return noise
}

// Payload is what client writes and reads, in an order that the seed and its number make.
func (r *Run) Payload(client int) *Payload {
	return &Payload{
		rng:      rand.New(rand.NewPCG(r.Seed, uint64(client))),
		keySpace: r.KeySpace, keySize: r.KeySize, noise: r.noise, size: r.ValueSize,
	}
}

// Number is a random number below n, which is positive.
func (p *Payload) Number(n int) int { return p.rng.IntN(n) }

// Key writes a random key of the key space into buf, which has the size of a key.
func (p *Payload) Key(buf []byte) { writeKey(buf, p.rng.IntN(p.keySpace)) }

// Value is random bytes, shared with others: not to be changed.
func (p *Payload) Value() []byte {
	at := p.rng.IntN(noiseBytes)
	return p.noise[at : at+p.size : at+p.size]
}

// writeKey fills buf with the n-th key: the prefix and n in decimal digits, so that keys sort as their numbers do.
func writeKey(buf []byte, n int) {
	copy(buf, keyPrefix)
	for i := len(buf) - 1; i >= len(keyPrefix); i-- {
		buf[i] = byte('0' + n%10)
		n /= 10
	}
}

// key is the n-th key, in memory of its own.
func (r *Run) key(n int) []byte {
	buf := make([]byte, r.KeySize)
	writeKey(buf, n)
	return buf
}
