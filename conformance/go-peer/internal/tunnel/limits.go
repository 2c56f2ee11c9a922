package tunnel

import (
	"net"
	"sync"
	"time"
)

// Rate is a limit of the configuration: so many a second, so many at once.
type Rate struct {
	PPS   float64 `yaml:"pps"`
	Burst float64 `yaml:"burst"`
}

// bucket is a token bucket. A nil bucket never refuses: the deployed server
// has defaults for every limit, this one only limits what its configuration
// names, so that it does not bound a measurement.
type bucket struct {
	rate Rate

	mu     sync.Mutex
	tokens float64
	filled time.Time
}

func newBucket(rate Rate) *bucket {
	if rate.PPS <= 0 || rate.Burst <= 0 {
		return nil
	}
	return &bucket{rate: rate, tokens: rate.Burst, filled: time.Now()}
}

// take takes one token, where there is one.
func (b *bucket) take() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(b.rate.Burst, b.tokens+b.rate.PPS*now.Sub(b.filled).Seconds())
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// handshakeLimits are those of POST /connect: of all clients together, and of
// each address, which is never forgotten here.
type handshakeLimits struct {
	all  *bucket
	each Rate

	mu        sync.Mutex
	addresses map[string]*bucket
}

func newHandshakeLimits(all, each Rate) *handshakeLimits {
	return &handshakeLimits{all: newBucket(all), each: each, addresses: make(map[string]*bucket)}
}

// allow says whether a request from that host:port may go on.
func (l *handshakeLimits) allow(remote string) bool {
	if !l.all.take() {
		return false
	}
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	l.mu.Lock()
	bucket, known := l.addresses[host]
	if !known {
		bucket = newBucket(l.each)
		l.addresses[host] = bucket
	}
	l.mu.Unlock()
	return bucket.take()
}
