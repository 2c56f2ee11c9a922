package tunnel

import (
	"time"

	"github.com/quic-go/quic-go"
)

// quic-go begins with packets of 1280 bytes, of which 1243 remain for the
// payload of a DATAGRAM frame, until path MTU discovery has found more, some
// six round trips later.
//
// What v0.58.0 does with more than that in between depends on when the first
// 1-RTT packet was acknowledged: before, SendDatagram fails; after, its limit
// reads 1280, and what does not fit the packet is dropped silently. Both are
// the end of a tunnel, so this peer fails in either case: for one second it
// holds its own datagrams to what is sure to fit.
const (
	sureToFit   = 1243
	firstSecond = time.Second
)

// datagramSender is the sending side of a request stream of either end.
type datagramSender interface {
	SendDatagram(datagram []byte) error
}

// carefulSender sends datagrams, and refuses those too large for the moment.
type carefulSender struct {
	datagramSender
	since time.Time
}

// SendDatagram sends a QDT datagram; one byte of quarter stream id goes before
// it.
func (c carefulSender) SendDatagram(datagram []byte) error {
	if 1+len(datagram) > sureToFit && time.Since(c.since) < firstSecond {
		return &quic.DatagramTooLargeError{MaxDatagramPayloadSize: sureToFit}
	}
	return c.datagramSender.SendDatagram(datagram)
}
