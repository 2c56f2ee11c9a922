package wire

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// load reads the cases of one recorded vector file.
func load(t *testing.T, name string, cases any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "vectors", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	file := struct {
		Cases json.RawMessage `json:"cases"`
	}{}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file.Cases, cases); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

type handshake struct {
	Token       string `json:"token"`
	ClientNonce string `json:"client_nonce_hex"`
	ServerNonce string `json:"server_nonce_hex"`
}

func (h handshake) keys(t *testing.T) Keys {
	t.Helper()
	keys, err := DeriveKeys([]byte(h.Token), unhex(t, h.ClientNonce), unhex(t, h.ServerNonce))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestVectorKeySchedule(t *testing.T) {
	var cases []struct {
		handshake
		ClientKey    string `json:"client_key_hex"`
		ServerKey    string `json:"server_key_hex"`
		ClientPrefix string `json:"client_nonce_prefix_hex"`
		ServerPrefix string `json:"server_nonce_prefix_hex"`
		ClientLength int    `json:"client_nonce_len"`
		ServerLength int    `json:"server_nonce_len"`
		Error        string `json:"error"`
	}
	load(t, "key_schedule", &cases)
	for i, c := range cases {
		if c.Error != "" {
			_, err := DeriveKeys([]byte(c.Token), make([]byte, c.ClientLength), make([]byte, c.ServerLength))
			if err == nil || err.Error() != c.Error {
				t.Errorf("case %d: got error %v, recorded %q", i, err, c.Error)
			}
			continue
		}
		keys := c.keys(t)
		for _, pair := range [][2]string{
			{hex.EncodeToString(keys.Client.Key[:]), c.ClientKey},
			{hex.EncodeToString(keys.Server.Key[:]), c.ServerKey},
			{hex.EncodeToString(keys.Client.Prefix[:]), c.ClientPrefix},
			{hex.EncodeToString(keys.Server.Prefix[:]), c.ServerPrefix},
		} {
			if pair[0] != pair[1] {
				t.Errorf("case %d: got %s, recorded %s", i, pair[0], pair[1])
			}
		}
	}
}

func TestVectorDatagrams(t *testing.T) {
	var cases []struct {
		handshake
		Direction    string   `json:"direction"`
		SessionID    string   `json:"session_id"`
		MTU          int      `json:"mtu"`
		FirstCounter uint64   `json:"first_counter"`
		FragmentID   uint32   `json:"fragment_id"`
		Payload      string   `json:"payload_hex"`
		Datagrams    []string `json:"datagrams_hex"`
	}
	load(t, "datagrams", &cases)
	for i, c := range cases {
		keys := c.keys(t)
		direction := keys.Client
		if c.Direction == "server_to_client" {
			direction = keys.Server
		}
		sealer, err := NewSealer(direction, number(t, c.SessionID), c.MTU)
		if err != nil {
			t.Fatal(err)
		}
		sealer.SetCounter(c.FirstCounter)
		sealer.fragmentID = c.FragmentID
		datagrams, err := sealer.Packet(unhex(t, c.Payload))
		if err != nil {
			t.Fatalf("case %d: %v", i, err)
		}
		if len(datagrams) != len(c.Datagrams) {
			t.Fatalf("case %d: %d datagrams, recorded %d", i, len(datagrams), len(c.Datagrams))
		}
		for j, datagram := range datagrams {
			if hex.EncodeToString(datagram) != c.Datagrams[j] {
				t.Errorf("case %d: datagram %d differs", i, j)
			}
		}
	}
}

func TestVectorReceiveSteps(t *testing.T) {
	var cases []struct {
		handshake
		Receiver  string `json:"receiver"`
		SessionID string `json:"session_id"`
		Window    uint64 `json:"replay_window"`
		MaxTotal  int    `json:"max_reassembly_bytes"`
		Steps     []struct {
			Name     string  `json:"name"`
			Datagram string  `json:"datagram_hex"`
			Packet   *string `json:"packet_hex"`
			Error    string  `json:"error"`
		} `json:"steps"`
	}
	load(t, "receive_steps", &cases)
	for i, c := range cases {
		keys := c.keys(t)
		direction := keys.Client
		if c.Receiver == "client" {
			direction = keys.Server
		}
		opener, err := NewOpener(direction, number(t, c.SessionID), c.Window, c.MaxTotal)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range c.Steps {
			packet, err := opener.Open(unhex(t, step.Datagram))
			switch {
			case step.Error != "" && (err == nil || err.Error() != step.Error):
				t.Errorf("case %d, %s: got error %v, recorded %q", i, step.Name, err, step.Error)
			case step.Error == "" && err != nil:
				t.Errorf("case %d, %s: %v", i, step.Name, err)
			case step.Error == "" && step.Packet != nil && hex.EncodeToString(packet) != *step.Packet:
				t.Errorf("case %d, %s: got packet %x", i, step.Name, packet)
			}
		}
	}
}

func TestVectorReplay(t *testing.T) {
	var cases []struct {
		Window uint64 `json:"window"`
		Ops    []struct {
			Counter  string `json:"counter"`
			Accepted bool   `json:"accepted"`
		} `json:"ops"`
	}
	load(t, "replay", &cases)
	for i, c := range cases {
		window := NewWindow(c.Window)
		for j, op := range c.Ops {
			counter := number(t, op.Counter)
			accepted := window.Check(counter)
			if accepted {
				window.Mark(counter)
			}
			if accepted != op.Accepted {
				t.Fatalf("case %d, step %d, counter %d: accepted %t, recorded %t", i, j, counter, accepted, op.Accepted)
			}
		}
	}
}

func TestAFragmentWithAnotherTotalBringsTheReceiverDown(t *testing.T) {
	keys, err := DeriveKeys([]byte("token"), make([]byte, NonceSize), make([]byte, NonceSize))
	if err != nil {
		t.Fatal(err)
	}
	sealer, _ := NewSealer(keys.Client, 7, 1242)
	opener, _ := NewOpener(keys.Client, 7, ReplayWindow, 65535)
	if _, err := opener.Open(sealer.Fragment(1, 0, 100, make([]byte, 10))); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("the second total was forgiven")
		}
	}()
	_, _ = opener.Open(sealer.Fragment(1, 10, 200, make([]byte, 10)))
}
