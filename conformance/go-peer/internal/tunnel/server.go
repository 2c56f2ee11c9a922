package tunnel

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go/http3"

	"qdt.invalid/go-peer/internal/device"
	"qdt.invalid/go-peer/internal/wire"
)

// Server is one run of the server on one device.
type Server struct {
	Config      ServerConfig
	Certificate tls.Certificate
	Device      device.Device
	Log         *slog.Logger
	// Opened, where given, may send its own datagrams to a new session's client,
	// before anything else is sent: tests of clients use it.
	Opened func(send func(datagram []byte) error, keys wire.Keys, session uint64)

	pool    netip.Prefix
	gateway netip.Addr
	token   []byte
	limits  *handshakeLimits

	mu       sync.Mutex
	sessions map[netip.Addr]*session
}

// Run serves the socket until the context ends.
func (s *Server) Run(ctx context.Context, socket net.PacketConn) error {
	var err error
	if s.pool, err = netip.ParsePrefix(s.Config.PoolCIDR); err != nil {
		return fmt.Errorf("pool_cidr: %w", err)
	}
	s.pool = s.pool.Masked()
	s.gateway = s.pool.Addr().Next()
	if s.Config.GatewayIP != "" {
		if s.gateway, err = netip.ParseAddr(s.Config.GatewayIP); err != nil {
			return fmt.Errorf("gateway_ip: %w", err)
		}
	}
	s.token = []byte(s.Config.Token)
	s.sessions = make(map[netip.Addr]*session)
	s.limits = newHandshakeLimits(s.Config.HandshakeRate, s.Config.HandshakeIPRate)

	mux := http.NewServeMux()
	mux.HandleFunc("/connect", s.connect)
	server := &http3.Server{
		Handler:         mux,
		EnableDatagrams: true,
		QUICConfig:      quicConfig(),
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{
			Certificates: []tls.Certificate{s.Certificate},
		}),
	}
	failed := make(chan error, 2)
	go func() { failed <- s.download() }()
	go func() { failed <- server.Serve(socket) }()
	reaper := time.NewTicker(max(s.Config.SessionTimeout/4, 10*time.Millisecond))
	defer reaper.Stop()
	defer func() { _ = s.Device.Close() }()
	for {
		select {
		case <-ctx.Done():
			return server.Close()
		case err := <-failed:
			return errors.Join(err, server.Close())
		case <-reaper.C:
			s.reap()
		}
	}
}

// connect is POST /connect: the checks in the deployed order.
func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("x-qdt-token")), s.token) != 1 {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	// Behind the token: guesses are not limited, which is a weakness to keep.
	if !s.limits.allow(r.RemoteAddr) {
		http.Error(w, "rate limited", http.StatusTooManyRequests)
		return
	}
	if s.full() {
		http.Error(w, "server busy", http.StatusServiceUnavailable)
		return
	}
	var body io.Reader = r.Body
	if s.Config.LenientContentLength {
		body = w.(http3.HTTPStreamer).HTTPStream()
	}
	var request connectRequest
	err := json.NewDecoder(io.LimitReader(body, maxMessage)).Decode(&request)
	if err != nil || request.Version != 1 {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	clientNonce, err := nonceText.DecodeString(request.ClientNonce)
	if err != nil {
		http.Error(w, "bad nonce", http.StatusBadRequest)
		return
	}
	var random [wire.NonceSize + 8]byte
	if _, err := rand.Read(random[:]); err != nil {
		http.Error(w, "nonce error", http.StatusInternalServerError)
		return
	}
	serverNonce, id := random[:wire.NonceSize], binary.BigEndian.Uint64(random[wire.NonceSize:])
	if !s.hasAddress() {
		http.Error(w, "address pool exhausted", http.StatusServiceUnavailable)
		return
	}
	keys, err := wire.DeriveKeys(s.token, clientNonce, serverNonce)
	if err != nil {
		http.Error(w, "key derivation error", http.StatusInternalServerError)
		return
	}
	if request.MTU <= 0 {
		request.MTU = 1350
	}
	mtu := min(s.Config.MTU, request.MTU)
	session, err := newSession(id, keys, mtu, s.Config)
	if err != nil {
		http.Error(w, "cipher error", http.StatusInternalServerError)
		return
	}
	if !s.admit(session) {
		http.Error(w, "address pool exhausted", http.StatusServiceUnavailable)
		return
	}
	stream := w.(http3.HTTPStreamer).HTTPStream()
	answer, err := json.Marshal(connectResponse{
		Version: 1, SessionID: id, ServerNonce: nonceText.EncodeToString(serverNonce), MTU: mtu,
		ClientIP: session.inner.String(), GatewayIP: s.gateway.String(), CIDR: s.Config.PoolCIDR, DNS: s.Config.DNS,
	})
	if err == nil {
		_, err = stream.Write(append(answer, '\n'))
	}
	if err != nil {
		s.Log.Error("connect response failed", "err", err)
		s.end(session, err)
		return
	}
	if s.Opened != nil {
		s.Opened(stream.SendDatagram, keys, id)
	}
	ctx, cancel := context.WithCancel(r.Context())
	session.cancel = cancel
	s.Log.Info("session opened", "id", id, "ip", session.inner)
	go func() { s.end(session, session.receive(ctx, stream, s.Device)) }()
	go func() { s.end(session, session.send(ctx, carefulSender{stream, time.Now()})) }()
	// A request that is finished by its client ends the session.
	go func() {
		_, err := io.Copy(io.Discard, stream)
		if err == nil {
			err = io.EOF
		}
		s.end(session, fmt.Errorf("request stream: %w", err))
	}()
}

// full says whether there are as many sessions as the configuration allows.
func (s *Server) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Config.MaxSessions > 0 && len(s.sessions) >= s.Config.MaxSessions
}

// hasAddress says whether an address is free; the deployed server looks before it derives keys.
func (s *Server) hasAddress() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free().IsValid()
}

// admit gives the session the first free address.
func (s *Server) admit(session *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	session.inner = s.free()
	if !session.inner.IsValid() {
		return false
	}
	s.sessions[session.inner] = session
	return true
}

// free is the first unused address, or none. The caller holds mu.
func (s *Server) free() netip.Addr {
	for inner := s.pool.Addr().Next(); s.pool.Contains(inner.Next()); inner = inner.Next() {
		if inner != s.gateway && s.sessions[inner] == nil {
			return inner
		}
	}
	return netip.Addr{}
}

// end forgets the session. Its connection and its stream stay open, and are
// not read any more: the client gets no notice.
func (s *Server) end(session *session, reason error) {
	s.mu.Lock()
	known := s.sessions[session.inner] == session
	if known {
		delete(s.sessions, session.inner)
	}
	s.mu.Unlock()
	if known {
		s.Log.Info("session closed", "id", session.id, "ip", session.inner, "err", reason,
			"fragments_sent", session.sealer.Fragments.Load(),
			"fragments_received", session.opener.Fragments.Load())
	}
	if session.cancel != nil {
		session.cancel()
	}
}

func (s *Server) reap() {
	s.mu.Lock()
	var idle []*session
	for _, session := range s.sessions {
		if time.Since(session.lastSeen()) > s.Config.SessionTimeout {
			idle = append(idle, session)
		}
	}
	s.mu.Unlock()
	for _, session := range idle {
		s.end(session, errors.New("session timeout"))
	}
}

// download reads the device and queues each packet at the session whose
// address it is for.
func (s *Server) download() error {
	buffer := make([]byte, 65535)
	for {
		n, err := s.Device.Read(buffer)
		if err != nil {
			return fmt.Errorf("tun read: %w", err)
		}
		if !isIPv4(buffer[:n]) {
			continue
		}
		s.mu.Lock()
		session := s.sessions[netip.AddrFrom4([4]byte(buffer[16:20]))]
		s.mu.Unlock()
		if session == nil {
			continue
		}
		select {
		case session.queue <- append([]byte(nil), buffer[:n]...):
		default:
		}
	}
}
