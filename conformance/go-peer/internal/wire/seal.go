package wire

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"
)

// Sizes of the format, in bytes.
const (
	HeaderSize         = 22
	TagSize            = 16
	Overhead           = HeaderSize + TagSize
	FragmentHeaderSize = 12
)

// Message types.
const (
	TypeData     = 0
	TypeFragment = 1
	TypePing     = 2
	TypePong     = 3
	TypeClose    = 4
)

// Sealer turns inner packets into datagrams of one direction of a session.
// Counters start at 0 and fragment ids at 1. It is not safe for concurrent use.
type Sealer struct {
	aead       cipher.AEAD
	prefix     [4]byte
	session    uint64
	mtu        int
	counter    uint64
	fragmentID uint32
	// Fragments counts the fragments that were sealed.
	Fragments atomic.Uint64
}

// NewSealer makes the sealing end; mtu is the largest datagram it makes.
func NewSealer(direction Direction, session uint64, mtu int) (*Sealer, error) {
	aead, err := chacha20poly1305.New(direction.Key[:])
	if err != nil {
		return nil, err
	}
	return &Sealer{aead: aead, prefix: direction.Prefix, session: session, mtu: mtu, fragmentID: 1}, nil
}

// SetCounter sets the counter of the next datagram: for vectors and attacks.
func (s *Sealer) SetCounter(counter uint64) { s.counter = counter }

// Datagram seals one message of any type.
func (s *Sealer) Datagram(kind byte, plaintext []byte) []byte {
	header := make([]byte, HeaderSize, Overhead+len(plaintext))
	copy(header, "QDT")
	header[3] = 1
	header[4] = kind
	binary.BigEndian.PutUint64(header[6:], s.session)
	binary.BigEndian.PutUint64(header[14:], s.counter)
	nonce := nonceOf(s.prefix, s.counter)
	s.counter++
	return s.aead.Seal(header, nonce[:], plaintext, header)
}

// Packet seals an inner packet: one datagram where it fits, else fragments in
// order.
func (s *Sealer) Packet(packet []byte) ([][]byte, error) {
	if len(packet) <= s.mtu-Overhead {
		return [][]byte{s.Datagram(TypeData, packet)}, nil
	}
	limit := s.mtu - Overhead - FragmentHeaderSize
	if limit <= 0 {
		return nil, errors.New("mtu too small for fragments")
	}
	id := s.fragmentID
	s.fragmentID++
	var datagrams [][]byte
	for offset := 0; offset < len(packet); offset += limit {
		end := min(offset+limit, len(packet))
		datagrams = append(datagrams, s.Fragment(id, uint32(offset), uint32(len(packet)), packet[offset:end]))
	}
	return datagrams, nil
}

// Fragment seals one fragment as told, also a wrong one.
func (s *Sealer) Fragment(id, offset, total uint32, data []byte) []byte {
	s.Fragments.Add(1)
	plaintext := make([]byte, FragmentHeaderSize, FragmentHeaderSize+len(data))
	binary.BigEndian.PutUint32(plaintext[0:], id)
	binary.BigEndian.PutUint32(plaintext[4:], offset)
	binary.BigEndian.PutUint32(plaintext[8:], total)
	return s.Datagram(TypeFragment, append(plaintext, data...))
}

func nonceOf(prefix [4]byte, counter uint64) [12]byte {
	var nonce [12]byte
	copy(nonce[:], prefix[:])
	binary.BigEndian.PutUint64(nonce[4:], counter)
	return nonce
}
