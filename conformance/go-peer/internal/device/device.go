// Package device carries IP packets between the tunnel and its user: a TUN
// device of the kernel, or a pair of channels in tests.
package device

import (
	"errors"
	"os"
)

// Device hands over one IP packet per call, without any header before it.
type Device interface {
	// Read waits for a packet that leaves through the tunnel.
	Read(packet []byte) (int, error)
	// Write delivers a packet that came out of the tunnel.
	Write(packet []byte) (int, error)
	// Close ends a waiting Read.
	Close() error
}

// Memory is a device without a kernel: what is put into Outgoing is read by
// the tunnel, what the tunnel delivers comes out of Incoming.
type Memory struct {
	Outgoing chan []byte
	Incoming chan []byte
	closed   chan struct{}
}

// NewMemory makes a device whose queues hold depth packets either way.
func NewMemory(depth int) *Memory {
	return &Memory{
		Outgoing: make(chan []byte, depth),
		Incoming: make(chan []byte, depth),
		closed:   make(chan struct{}),
	}
}

// Read implements Device.
func (m *Memory) Read(packet []byte) (int, error) {
	select {
	case data := <-m.Outgoing:
		return copy(packet, data), nil
	case <-m.closed:
		return 0, os.ErrClosed
	}
}

// Write implements Device.
func (m *Memory) Write(packet []byte) (int, error) {
	select {
	case m.Incoming <- append([]byte(nil), packet...):
		return len(packet), nil
	default:
		return 0, errors.New("the device is not read")
	}
}

// Close implements Device. It must be called once.
func (m *Memory) Close() error {
	close(m.closed)
	return nil
}
