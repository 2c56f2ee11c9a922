package wire

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// ReplayWindow is the number of counters the protocol's receiver remembers.
const ReplayWindow = 2048

// Reasons for which a datagram is refused.
var (
	ErrInvalid       = errors.New("invalid datagram")
	ErrMagic         = errors.New("invalid datagram magic")
	ErrVersion       = errors.New("unsupported datagram version")
	ErrSession       = errors.New("session id mismatch")
	ErrReplay        = errors.New("replay detected")
	ErrFragmentSmall = errors.New("fragment payload too small")
	ErrFragmentTotal = errors.New("invalid fragment total")
	ErrFragmentLarge = errors.New("fragment total too large")
	ErrFragmentRange = errors.New("fragment exceeds total")
	ErrOverlap       = errors.New("fragment overlap")
)

// Opener is the receiving end of one direction of a session. It is not safe
// for concurrent use.
type Opener struct {
	aead     cipher.AEAD
	prefix   [4]byte
	session  uint64
	window   *Window
	maxTotal int
	entries  map[uint32]*reassembly
	// Fragments counts the fragments that were opened.
	Fragments atomic.Uint64
}

// reassembly is one packet of which fragments are still missing.
type reassembly struct {
	buffer   []byte
	ranges   [][2]int
	received int
	started  time.Time
}

// The deployed receiver sweeps old entries only once there are this many.
const (
	sweepAbove = 1024
	sweepAge   = 5 * time.Second
)

// NewOpener makes the receiving end; maxTotal bounds one reassembled packet.
func NewOpener(direction Direction, session, window uint64, maxTotal int) (*Opener, error) {
	aead, err := chacha20poly1305.New(direction.Key[:])
	if err != nil {
		return nil, err
	}
	return &Opener{
		aead: aead, prefix: direction.Prefix, session: session,
		window: NewWindow(window), maxTotal: maxTotal,
		entries: make(map[uint32]*reassembly),
	}, nil
}

// Open takes one datagram. The packet is nil where there is nothing to
// deliver (ping, pong, a fragment that completes nothing).
func (o *Opener) Open(datagram []byte) (packet []byte, err error) {
	if len(datagram) < Overhead {
		return nil, ErrInvalid
	}
	if string(datagram[:3]) != "QDT" {
		return nil, ErrMagic
	}
	if datagram[3] != 1 {
		return nil, ErrVersion
	}
	if binary.BigEndian.Uint64(datagram[6:]) != o.session {
		return nil, ErrSession
	}
	counter := binary.BigEndian.Uint64(datagram[14:])
	if !o.window.Check(counter) {
		return nil, ErrReplay
	}
	nonce := nonceOf(o.prefix, counter)
	plaintext, err := o.aead.Open(nil, nonce[:], datagram[HeaderSize:], datagram[:HeaderSize])
	if err != nil {
		return nil, err
	}
	o.window.Mark(counter)
	switch kind := datagram[4]; kind {
	case TypeData:
		return plaintext, nil
	case TypeFragment:
		o.Fragments.Add(1)
		return o.fragment(plaintext)
	case TypePing, TypePong:
		return nil, nil
	default:
		return nil, fmt.Errorf("unknown message type: %d", kind)
	}
}

func (o *Opener) fragment(plaintext []byte) ([]byte, error) {
	if len(plaintext) < FragmentHeaderSize {
		return nil, ErrFragmentSmall
	}
	id := binary.BigEndian.Uint32(plaintext[0:])
	offset := int(binary.BigEndian.Uint32(plaintext[4:]))
	total := int(binary.BigEndian.Uint32(plaintext[8:]))
	data := plaintext[FragmentHeaderSize:]
	if total == 0 {
		return nil, ErrFragmentTotal
	}
	if total > o.maxTotal {
		return nil, ErrFragmentLarge
	}
	if offset+len(data) > total {
		return nil, ErrFragmentRange
	}
	entry := o.entries[id]
	if entry == nil {
		if len(o.entries) >= sweepAbove {
			o.sweep()
		}
		entry = &reassembly{buffer: make([]byte, total), started: time.Now()}
		o.entries[id] = entry
	}
	if total != len(entry.buffer) {
		// The deployed server crashes at this, so a peer that ever does it must fail
		// here too.
		panic(fmt.Sprintf("fragment %d announces %d bytes, an earlier one announced %d", id, total, len(entry.buffer)))
	}
	for _, held := range entry.ranges {
		if offset < held[1] && held[0] < offset+len(data) {
			return nil, ErrOverlap
		}
	}
	copy(entry.buffer[offset:], data)
	entry.ranges = append(entry.ranges, [2]int{offset, offset + len(data)})
	entry.received += len(data)
	if entry.received < total {
		return nil, nil
	}
	delete(o.entries, id)
	return entry.buffer, nil
}

func (o *Opener) sweep() {
	for id, entry := range o.entries {
		if time.Since(entry.started) > sweepAge {
			delete(o.entries, id)
		}
	}
}
