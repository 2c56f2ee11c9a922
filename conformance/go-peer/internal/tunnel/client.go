package tunnel

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"qdt.invalid/go-peer/internal/device"
	"qdt.invalid/go-peer/internal/wire"
)

// Client is one run of the client: one connection, one session.
type Client struct {
	Config ClientConfig
	// Device opens the device once the server has named the address.
	Device func(address netip.Prefix, gateway netip.Addr, mtu int) (device.Device, error)
	// Connected, where given, gets the assigned address.
	Connected func(address netip.Prefix, mtu int)
	// Ended, where given, gets the number of fragments that a session sent and
	// received.
	Ended func(sent, received uint64)
}

// Run connects and carries packets until the context or the first error ends
// it. Every error is fatal: a datagram that does not open, one that is too
// large, a connection that is lost. There is no second attempt.
func (c *Client) Run(ctx context.Context) error {
	host, _, err := net.SplitHostPort(c.Config.Server)
	if err != nil {
		return fmt.Errorf("server %q: %w", c.Config.Server, err)
	}
	dialing, cancelDialing := context.WithTimeout(ctx, c.Config.Timeout)
	defer cancelDialing()
	conn, err := quic.DialAddr(dialing, c.Config.Server, &tls.Config{
		ServerName:         host,
		NextProtos:         []string{http3.NextProtoH3},
		InsecureSkipVerify: c.Config.Insecure, //nolint:gosec // the key of that name asks for it
	}, quicConfig())
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer func() { _ = conn.CloseWithError(0, "") }()

	transport := &http3.Transport{EnableDatagrams: true}
	stream, err := transport.NewClientConn(conn).OpenRequestStream(dialing)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	response, clientNonce, err := c.connect(dialing, stream, host)
	if err != nil {
		return err
	}
	serverNonce, err := nonceText.DecodeString(response.ServerNonce)
	if err != nil {
		return fmt.Errorf("server nonce: %w", err)
	}
	keys, err := wire.DeriveKeys([]byte(c.Config.Token), clientNonce, serverNonce)
	if err != nil {
		return fmt.Errorf("key derivation: %w", err)
	}
	sealer, err := wire.NewSealer(keys.Client, response.SessionID, response.MTU)
	if err != nil {
		return err
	}
	opener, err := wire.NewOpener(keys.Server, response.SessionID, wire.ReplayWindow, c.Config.MaxReassemblyBytes)
	if err != nil {
		return err
	}
	address, gateway, err := addresses(response)
	if err != nil {
		return err
	}
	tun, err := c.Device(address, gateway, response.MTU)
	if err != nil {
		return err
	}
	defer func() { _ = tun.Close() }()
	if c.Connected != nil {
		c.Connected(address, response.MTU)
	}

	failed := make(chan error, 2)
	go func() { failed <- upload(tun, sealer, carefulSender{stream, time.Now()}) }()
	go func() { failed <- download(ctx, tun, opener, stream) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if c.Ended != nil {
		c.Ended(sealer.Fragments.Load(), opener.Fragments.Load())
	}
	return err
}

// connect sends the request as the deployed client does: content-length 0,
// because the header goes out for a request without a body, and then the JSON
// in a DATA frame all the same. The stream is never finished.
func (c *Client) connect(ctx context.Context, stream *http3.RequestStream, host string) (connectResponse, []byte, error) {
	var response connectResponse
	nonce := make([]byte, wire.NonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return response, nil, err
	}
	body, err := json.Marshal(connectRequest{
		Version:     1,
		ClientNonce: nonceText.EncodeToString(nonce),
		MTU:         c.Config.MTU,
		Caps:        []string{"datagram"},
		ClientID:    c.Config.ClientID,
		Platform:    runtime.GOOS,
	})
	if err != nil {
		return response, nil, err
	}
	request := (&http.Request{
		Method: http.MethodPost,
		URL:    &url.URL{Scheme: "https", Host: c.Config.Server, Path: "/connect"},
		Host:   host,
		Proto:  "HTTP/3.0",
		Header: http.Header{"x-qdt-token": {c.Config.Token}},
	}).WithContext(ctx)
	if err := stream.SendRequestHeader(request); err != nil {
		return response, nil, fmt.Errorf("send request: %w", err)
	}
	if _, err := stream.Write(body); err != nil {
		return response, nil, fmt.Errorf("send body: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = stream.SetReadDeadline(deadline)
	}
	answer, err := stream.ReadResponse()
	if err != nil {
		return response, nil, fmt.Errorf("read response: %w", err)
	}
	limited := io.LimitReader(answer.Body, maxMessage)
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(limited)
		return response, nil, fmt.Errorf("connect failed: %d %s (%s)",
			answer.StatusCode, http.StatusText(answer.StatusCode), text)
	}
	if err := json.NewDecoder(limited).Decode(&response); err != nil {
		return response, nil, fmt.Errorf("decode response: %w", err)
	}
	if response.Version != 1 {
		return response, nil, fmt.Errorf("unsupported version: %d", response.Version)
	}
	if response.MTU <= 0 {
		response.MTU = 1350
	}
	return response, nonce, nil
}

func addresses(response connectResponse) (netip.Prefix, netip.Addr, error) {
	address, err := netip.ParseAddr(response.ClientIP)
	if err != nil || !address.Is4() {
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("invalid client ip %q", response.ClientIP)
	}
	gateway, err := netip.ParseAddr(response.GatewayIP)
	if err != nil {
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("invalid gateway ip %q", response.GatewayIP)
	}
	pool, err := netip.ParsePrefix(response.CIDR)
	if err != nil {
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("invalid cidr %q", response.CIDR)
	}
	return netip.PrefixFrom(address, pool.Bits()), gateway, nil
}

func upload(tun device.Device, sealer *wire.Sealer, stream datagramSender) error {
	buffer := make([]byte, 65535)
	for {
		n, err := tun.Read(buffer)
		if err != nil {
			return fmt.Errorf("tun read: %w", err)
		}
		datagrams, err := sealer.Packet(buffer[:n])
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		for _, datagram := range datagrams {
			if err := stream.SendDatagram(datagram); err != nil {
				return fmt.Errorf("send datagram: %w", err)
			}
		}
	}
}

func download(ctx context.Context, tun device.Device, opener *wire.Opener, stream *http3.RequestStream) error {
	for {
		datagram, err := stream.ReceiveDatagram(ctx)
		if err != nil {
			return fmt.Errorf("receive datagram: %w", err)
		}
		packet, err := opener.Open(datagram)
		if err != nil {
			return fmt.Errorf("decode datagram: %w", err)
		}
		if len(packet) == 0 {
			continue
		}
		if _, err := tun.Write(packet); err != nil {
			return fmt.Errorf("tun write: %w", err)
		}
	}
}

// KernelDevice opens and configures the real TUN device of the client, and
// its routes as far as the deployed client gets with them.
func (c ClientConfig) KernelDevice(address netip.Prefix, gateway netip.Addr, mtu int) (device.Device, error) {
	tun, err := device.OpenTUN(c.TUNName)
	if err != nil {
		return nil, err
	}
	if err := device.Configure(c.TUNName, address, mtu); err != nil {
		return nil, errors.Join(err, tun.Close())
	}
	switch strings.ToLower(c.RouteMode) {
	case "none":
	case "cidr":
		// The address brought this route already, so the deployed client always
		// fails here.
		if err := device.IP("route", "add", address.Masked().String(), "dev", c.TUNName); err != nil {
			return nil, errors.Join(err, tun.Close())
		}
	default:
		if err := device.IP("route", "add", "default", "via", gateway.String(), "dev", c.TUNName); err != nil {
			return nil, errors.Join(err, tun.Close())
		}
	}
	return tun, nil
}
