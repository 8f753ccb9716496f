package bench

import (
	"math/rand/v2"
)

// payload makes the keys and values of one client. Not safe for concurrent use.
type payload struct {
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

func newPayload(o Options, client int, noise []byte) *payload {
	return &payload{
		rng:      rand.New(rand.NewPCG(o.Seed, uint64(client))),
		keySpace: o.KeySpace, keySize: o.KeySize,
		noise: noise, size: o.ValueSize,
	}
}

// key writes a key into buf, which has the size of a key.
func (p *payload) key(buf []byte) {
	n := p.rng.IntN(p.keySpace)
	copy(buf, keyPrefix)
	for i := p.keySize - 1; i >= len(keyPrefix); i-- {
		buf[i] = byte('0' + n%10)
		n /= 10
	}
}

func (p *payload) value() []byte {
	at := p.rng.IntN(noiseBytes)
	return p.noise[at : at+p.size]
}
