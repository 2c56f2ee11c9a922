package tunnel

import (
	"net"
	"sync"
	"testing"
	"time"
)

// relay stands between a client and a server and holds every datagram back by
// a fixed time, so that round trips have a length a test can rely on.
type relay struct {
	front *net.UDPConn
	delay time.Duration

	mu   sync.Mutex
	back map[string]*net.UDPConn
}

// startRelay returns the address at which the server is reached through it.
func startRelay(t *testing.T, server string, delay time.Duration) string {
	t.Helper()
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	target, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{front: front, delay: delay, back: make(map[string]*net.UDPConn)}
	t.Cleanup(r.close)
	go r.forward(target)
	return front.LocalAddr().String()
}

func (r *relay) close() {
	_ = r.front.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, back := range r.back {
		_ = back.Close()
	}
}

func (r *relay) forward(server *net.UDPAddr) {
	buffer := make([]byte, 65535)
	for {
		n, client, err := r.front.ReadFromUDP(buffer)
		if err != nil {
			return
		}
		data := append([]byte(nil), buffer[:n]...)
		r.mu.Lock()
		back := r.back[client.String()]
		if back == nil {
			if back, err = net.DialUDP("udp", nil, server); err != nil {
				r.mu.Unlock()
				return
			}
			r.back[client.String()] = back
			go r.answer(back, client)
		}
		r.mu.Unlock()
		time.AfterFunc(r.delay, func() { _, _ = back.Write(data) })
	}
}

func (r *relay) answer(back *net.UDPConn, client *net.UDPAddr) {
	buffer := make([]byte, 65535)
	for {
		n, err := back.Read(buffer)
		if err != nil {
			return
		}
		data := append([]byte(nil), buffer[:n]...)
		time.AfterFunc(r.delay, func() { _, _ = r.front.WriteToUDP(data, client) })
	}
}
