// Package tunnel is the life-cycle of the two Go programs: a client that
// connects once and ends at the first error, and a server that keeps its
// sessions in a table and drops them silently. Both are faithful to what is
// deployed, weaknesses included, because they stand in for it in tests.
package tunnel

import (
	"fmt"
	"os"
	"time"

	"gopkg.in/yaml.v3"
)

// ClientConfig are the keys of client.yaml that this peer needs.
type ClientConfig struct {
	Server             string        `yaml:"server"`
	Token              string        `yaml:"token"`
	MTU                int           `yaml:"mtu"`
	TUNName            string        `yaml:"tun_name"`
	RouteMode          string        `yaml:"route_mode"`
	LogLevel           string        `yaml:"log_level"`
	Insecure           bool          `yaml:"insecure"`
	Timeout            time.Duration `yaml:"timeout"`
	ClientID           string        `yaml:"client_id"`
	MaxReassemblyBytes int           `yaml:"max_reassembly_bytes"`
}

// ServerConfig are the keys of server.yaml that this peer needs.
type ServerConfig struct {
	Addr               string        `yaml:"addr"`
	TLSCert            string        `yaml:"tls_cert"`
	TLSKey             string        `yaml:"tls_key"`
	Token              string        `yaml:"token"`
	MTU                int           `yaml:"mtu"`
	TUNName            string        `yaml:"tun_name"`
	PoolCIDR           string        `yaml:"pool_cidr"`
	GatewayIP          string        `yaml:"gateway_ip"`
	DNS                []string      `yaml:"dns"`
	LogLevel           string        `yaml:"log_level"`
	SessionTimeout     time.Duration `yaml:"session_timeout"`
	MaxReassemblyBytes int           `yaml:"max_reassembly_bytes"`
	SendDatagramQueue  int           `yaml:"send_datagram_queue"`
	MaxSessions        int           `yaml:"max_sessions"`
	RateLimit          Rate          `yaml:"rate_limit"`
	HandshakeRate      Rate          `yaml:"handshake_rate"`
	HandshakeIPRate    Rate          `yaml:"handshake_ip_rate"`

	// LenientContentLength makes the server read the request although its
	// content-length says 0. The deployed server does not: only with this can a
	// Go client be tried against a Go server at all.
	LenientContentLength bool `yaml:"test_lenient_content_length"`
}

func load(path string, config any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(data, config); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// LoadClientConfig reads client.yaml and fills in the defaults.
func LoadClientConfig(path string) (ClientConfig, error) {
	var config ClientConfig
	if err := load(path, &config); err != nil {
		return config, err
	}
	config.defaults()
	if config.Server == "" {
		return config, fmt.Errorf("server is required")
	}
	if config.Token == "" {
		return config, fmt.Errorf("token is required")
	}
	return config, nil
}

func (c *ClientConfig) defaults() {
	orDefault(&c.MTU, 1350)
	orDefault(&c.TUNName, "qdt0")
	orDefault(&c.RouteMode, "default")
	orDefault(&c.Timeout, 10*time.Second)
	orDefault(&c.MaxReassemblyBytes, 65535)
}

// LoadServerConfig reads server.yaml and fills in the defaults.
func LoadServerConfig(path string) (ServerConfig, error) {
	var config ServerConfig
	if err := load(path, &config); err != nil {
		return config, err
	}
	config.defaults()
	if config.Token == "" {
		return config, fmt.Errorf("token is required")
	}
	return config, nil
}

func (c *ServerConfig) defaults() {
	orDefault(&c.Addr, ":443")
	orDefault(&c.TLSCert, "cert.pem")
	orDefault(&c.TLSKey, "key.pem")
	orDefault(&c.MTU, 1350)
	orDefault(&c.TUNName, "qdt0")
	orDefault(&c.PoolCIDR, "10.8.0.0/24")
	orDefault(&c.SessionTimeout, 2*time.Minute)
	orDefault(&c.MaxReassemblyBytes, 65535)
	orDefault(&c.SendDatagramQueue, 4096)
}

func orDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}
