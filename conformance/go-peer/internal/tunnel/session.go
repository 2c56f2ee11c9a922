package tunnel

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go/http3"

	"qdt.invalid/go-peer/internal/device"
	"qdt.invalid/go-peer/internal/wire"
)

// session is one client of the server.
type session struct {
	id     uint64
	inner  netip.Addr
	sealer *wire.Sealer
	opener *wire.Opener
	queue  chan []byte
	// One for both directions, charged for each datagram and so for each
	// fragment: as deployed.
	bucket *bucket
	seen   atomic.Int64
	cancel context.CancelFunc
}

func newSession(id uint64, keys wire.Keys, mtu int, config ServerConfig) (*session, error) {
	sealer, err := wire.NewSealer(keys.Server, id, mtu)
	if err != nil {
		return nil, err
	}
	opener, err := wire.NewOpener(keys.Client, id, wire.ReplayWindow, config.MaxReassemblyBytes)
	if err != nil {
		return nil, err
	}
	s := &session{
		id: id, sealer: sealer, opener: opener,
		queue:  make(chan []byte, config.SendDatagramQueue),
		bucket: newBucket(config.RateLimit),
	}
	s.touch()
	return s, nil
}

func (s *session) touch() { s.seen.Store(time.Now().UnixNano()) }

func (s *session) lastSeen() time.Time { return time.Unix(0, s.seen.Load()) }

// receive takes datagrams until the session ends. What does not open or does
// not come from the session's own address is dropped; only a valid inner
// packet counts as activity.
func (s *session) receive(ctx context.Context, stream *http3.Stream, tun device.Device) error {
	for {
		datagram, err := stream.ReceiveDatagram(ctx)
		if err != nil {
			return fmt.Errorf("receive datagram: %w", err)
		}
		if !s.bucket.take() {
			continue
		}
		packet, err := s.opener.Open(datagram)
		if err != nil || !isIPv4(packet) {
			continue
		}
		if netip.AddrFrom4([4]byte(packet[12:16])) != s.inner {
			continue
		}
		s.touch()
		if _, err := tun.Write(packet); err != nil {
			continue
		}
	}
}

// send seals what is queued. A datagram that quic-go refuses ends the session.
func (s *session) send(ctx context.Context, stream datagramSender) error {
	for {
		var packet []byte
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case packet = <-s.queue:
		}
		datagrams, err := s.sealer.Packet(packet)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		for _, datagram := range datagrams {
			if !s.bucket.take() {
				continue
			}
			if err := stream.SendDatagram(datagram); err != nil {
				return fmt.Errorf("send datagram: %w", err)
			}
		}
	}
}

// isIPv4 is the deployed server's check of a packet: the total length may be
// false.
func isIPv4(packet []byte) bool {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return false
	}
	header := int(packet[0]&0x0f) * 4
	return header >= 20 && header <= len(packet)
}
