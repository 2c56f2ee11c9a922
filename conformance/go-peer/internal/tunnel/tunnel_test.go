package tunnel

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"qdt.invalid/go-peer/internal/device"
	"qdt.invalid/go-peer/internal/wire"
)

// within is how long a test waits for what must happen.
const within = 10 * time.Second

func TestAPacketTravelsBothWays(t *testing.T) {
	server := startServer(t, nil)
	client := startClient(t, server.address)
	up := packet(client.connected(t), netip.MustParseAddr("10.8.0.1"), 1200)
	client.device.Outgoing <- up
	if got := receive(t, server.device.Incoming); !bytes.Equal(got, up) {
		t.Errorf("the server delivered %d other bytes", len(got))
	}
	down := packet(netip.MustParseAddr("10.8.0.1"), client.connected(t), 1200)
	server.device.Outgoing <- down
	if got := receive(t, client.device.Incoming); !bytes.Equal(got, down) {
		t.Errorf("the client delivered %d other bytes", len(got))
	}
}

func TestTheClientExitsOnAJunkDatagram(t *testing.T) {
	server := startServer(t, func(s *Server) {
		s.Opened = func(send func([]byte) error, _ wire.Keys, _ uint64) {
			_ = send([]byte("this is not a datagram of the protocol, but it is long enough"))
		}
	})
	client := startClient(t, server.address)
	if err := client.ended(t); !errors.Is(err, wire.ErrMagic) {
		t.Errorf("the client ended with %v", err)
	}
}

func TestTheClientExitsOnAReplayedDatagram(t *testing.T) {
	server := startServer(t, func(s *Server) {
		s.Opened = func(send func([]byte) error, keys wire.Keys, session uint64) {
			sealer, _ := wire.NewSealer(keys.Server, session, 1242)
			datagram := sealer.Datagram(wire.TypePing, nil)
			_ = send(datagram)
			_ = send(datagram)
		}
	})
	client := startClient(t, server.address)
	if err := client.ended(t); !errors.Is(err, wire.ErrReplay) {
		t.Errorf("the client ended with %v", err)
	}
}

// quic-go begins with packets of 1280 bytes. Of these 1243 remain for the
// payload of a DATAGRAM frame: quarter stream id and QDT datagram.
func TestTheClientSends1243BytesInTheFirstSecond(t *testing.T) {
	server := startServer(t, nil)
	client := startClient(t, startRelay(t, server.address, 50*time.Millisecond))
	client.device.Outgoing <- packet(client.connected(t), netip.MustParseAddr("10.8.0.1"), 1243-1-wire.Overhead)
	receive(t, server.device.Incoming)
}

func TestTheClientExitsOn1244BytesInTheFirstSecond(t *testing.T) {
	server := startServer(t, nil)
	client := startClient(t, server.address)
	client.device.Outgoing <- packet(client.connected(t), netip.MustParseAddr("10.8.0.1"), 1244-1-wire.Overhead)
	err := client.ended(t)
	var tooLarge *quic.DatagramTooLargeError
	if !errors.As(err, &tooLarge) {
		t.Errorf("the client ended with %v", err)
	}
}

func TestTheServerRefusesContentLengthZeroWithABody(t *testing.T) {
	server := startServer(t, func(s *Server) { s.Config.LenientContentLength = false })
	client := startClient(t, server.address)
	if err := client.ended(t); err == nil {
		t.Error("the client got a session")
	}
	if open := server.server.open(); open != 0 {
		t.Errorf("the server opened %d sessions", open)
	}
}

func TestTheServerTakesARequestWithTheRightContentLength(t *testing.T) {
	server := startServer(t, func(s *Server) { s.Config.LenientContentLength = false })
	response := post(t, server.address, "secret",
		`{"version":1,"client_nonce":"AAAAAAAAAAAAAAAAAAAAAA","mtu":1242,"caps":[]}`)
	if response.StatusCode != http.StatusOK {
		t.Errorf("status %d", response.StatusCode)
	}
	for name := range response.Header {
		if name != "Date" {
			t.Errorf("the answer has a header %s", name)
		}
	}
}

func TestTheServerAnswersWrongTokensAndBadRequests(t *testing.T) {
	server := startServer(t, func(s *Server) { s.Config.LenientContentLength = false })
	for _, c := range []struct {
		token, body, answer string
		status              int
	}{
		{"wrong", `{"version":1}`, "unauthorized\n", 401},
		{"secret", `{"version":2}`, "bad request\n", 400},
		{"secret", `{"version":1,"client_nonce":"="}`, "bad nonce\n", 400},
		{"secret", `{"version":1,"client_nonce":"AAAA"}`, "key derivation error\n", 500},
	} {
		response := post(t, server.address, c.token, c.body)
		text := make([]byte, len(c.answer))
		_, _ = io.ReadFull(response.Body, text)
		if response.StatusCode != c.status || string(text) != c.answer {
			t.Errorf("%s: got %d %q", c.body, response.StatusCode, text)
		}
	}
}

func TestTheServerGoesSilentAfterSessionTimeout(t *testing.T) {
	server := startServer(t, func(s *Server) { s.Config.SessionTimeout = 300 * time.Millisecond })
	client := startClient(t, server.address)
	inner := client.connected(t)
	waitUntil(t, "the session is gone", func() bool { return server.server.open() == 0 })
	client.device.Outgoing <- packet(inner, netip.MustParseAddr("10.8.0.1"), 100)
	server.device.Outgoing <- packet(netip.MustParseAddr("10.8.0.1"), inner, 100)
	select {
	case <-server.device.Incoming:
		t.Error("the server still delivers")
	case <-client.device.Incoming:
		t.Error("the client still receives")
	case err := <-client.done:
		t.Errorf("the client was told: %v", err)
	case <-time.After(time.Second):
	}
}

func TestTrafficKeepsTheSessionAlive(t *testing.T) {
	server := startServer(t, func(s *Server) { s.Config.SessionTimeout = 1500 * time.Millisecond })
	client := startClient(t, server.address)
	inner := client.connected(t)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for range 10 {
		<-tick.C
		client.device.Outgoing <- packet(inner, netip.MustParseAddr("10.8.0.1"), 100)
		receive(t, server.device.Incoming)
	}
}

// ---- helpers ----

type runningServer struct {
	server  *Server
	device  *device.Memory
	address string
}

func startServer(t *testing.T, change func(*Server)) runningServer {
	t.Helper()
	folder := t.TempDir()
	certificate, err := Certificate(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	memory := device.NewMemory(64)
	server := &Server{
		Config:      ServerConfig{Token: "secret", LenientContentLength: true},
		Certificate: certificate, Device: memory,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	server.Config.defaults()
	if change != nil {
		change(server)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, socket) }()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = socket.Close()
	})
	return runningServer{server, memory, socket.LocalAddr().String()}
}

// open is the number of sessions in the server's table.
func (s *Server) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

type runningClient struct {
	device  *device.Memory
	address chan netip.Addr
	done    chan error
}

func startClient(t *testing.T, server string) *runningClient {
	t.Helper()
	config := ClientConfig{Server: server, Token: "secret", Insecure: true, Timeout: within}
	config.defaults()
	running := &runningClient{
		device: device.NewMemory(64), address: make(chan netip.Addr, 1), done: make(chan error, 1),
	}
	client := &Client{
		Config: config,
		Device: func(netip.Prefix, netip.Addr, int) (device.Device, error) { return running.device, nil },
		Connected: func(address netip.Prefix, _ int) {
			running.address <- address.Addr()
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { running.done <- client.Run(ctx) }()
	t.Cleanup(cancel)
	return running
}

func (c *runningClient) connected(t *testing.T) netip.Addr {
	t.Helper()
	select {
	case address := <-c.address:
		c.address <- address
		return address
	case err := <-c.done:
		t.Fatalf("the client ended: %v", err)
	case <-time.After(within):
		t.Fatal("the client did not connect")
	}
	return netip.Addr{}
}

func (c *runningClient) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.done:
		return err
	case <-time.After(within):
		t.Fatal("the client runs on")
		return nil
	}
}

func receive(t *testing.T, packets <-chan []byte) []byte {
	t.Helper()
	select {
	case packet := <-packets:
		return packet
	case <-time.After(within):
		t.Fatal("no packet came")
		return nil
	}
}

func waitUntil(t *testing.T, what string, reached func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
		<-tick.C
	}
}

// packet is an IPv4 packet of that size with a valid header length.
func packet(source, destination netip.Addr, size int) []byte {
	data := make([]byte, size)
	data[0] = 0x45
	binary.BigEndian.PutUint16(data[2:], uint16(size))
	copy(data[12:], source.AsSlice())
	copy(data[16:], destination.AsSlice())
	return data
}

// post sends a well-formed request: what a client with the right
// content-length gets.
func post(t *testing.T, server, token, body string) *http.Response {
	t.Helper()
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, EnableDatagrams: true,
	}
	t.Cleanup(func() { _ = transport.Close() })
	response, err := transport.RoundTrip(&http.Request{
		Method: http.MethodPost,
		URL:    &url.URL{Scheme: "https", Host: server, Path: "/connect"},
		Header: http.Header{"X-Qdt-Token": {token}, "Content-Length": {strconv.Itoa(len(body))}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return response
}
