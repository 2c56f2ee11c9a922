package tunnel

import (
	"encoding/base64"
	"time"

	"github.com/quic-go/quic-go"
)

// maxMessage bounds the JSON message of either side, in bytes.
const maxMessage = 4096

// connectRequest is the body of POST /connect.
type connectRequest struct {
	Version     uint8    `json:"version"`
	ClientNonce string   `json:"client_nonce"`
	MTU         int      `json:"mtu"`
	Caps        []string `json:"caps"`
	ClientID    string   `json:"client_id"`
	Platform    string   `json:"platform"`
}

// connectResponse is the body of its answer.
type connectResponse struct {
	Version     uint8    `json:"version"`
	SessionID   uint64   `json:"session_id"`
	ServerNonce string   `json:"server_nonce"`
	MTU         int      `json:"mtu"`
	ClientIP    string   `json:"client_ip"`
	GatewayIP   string   `json:"gateway_ip"`
	CIDR        string   `json:"cidr"`
	DNS         []string `json:"dns,omitempty"`
}

// nonceText is the alphabet of nonces in messages.
var nonceText = base64.RawStdEncoding

func quicConfig() *quic.Config {
	return &quic.Config{
		KeepAlivePeriod:       10 * time.Second,
		MaxIdleTimeout:        30 * time.Second,
		EnableDatagrams:       true,
		MaxIncomingStreams:    32,
		MaxIncomingUniStreams: 32,
	}
}
