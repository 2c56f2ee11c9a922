// Package wire implements the QDT datagram format: key schedule, sealing,
// opening, replay window, fragments. It holds no sockets and no goroutines,
// and it is written for fidelity to the deployed Go programs, not for speed.
package wire

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
)

// NonceSize is the length in bytes of the handshake nonce of either side.
const NonceSize = 16

// keyInfo is the HKDF info string of the protocol.
const keyInfo = "qdt-aead-v1"

// Direction holds what seals one direction of a session.
type Direction struct {
	Key    [32]byte
	Prefix [4]byte
}

// Keys are the two directions of a session: Client seals what the client
// sends, Server what the server sends.
type Keys struct {
	Client Direction
	Server Direction
}

// DeriveKeys runs HKDF-SHA256 over the token, salted with the client nonce
// followed by the server nonce. 72 bytes come out: client key, server key,
// client prefix, server prefix.
func DeriveKeys(token, clientNonce, serverNonce []byte) (Keys, error) {
	if len(token) == 0 {
		return Keys{}, errors.New("token is empty")
	}
	if len(clientNonce) != NonceSize || len(serverNonce) != NonceSize {
		return Keys{}, errors.New("nonce must be 16 bytes")
	}
	salt := make([]byte, 0, len(clientNonce)+len(serverNonce))
	salt = append(salt, clientNonce...)
	salt = append(salt, serverNonce...)
	out, err := hkdf.Key(sha256.New, token, salt, keyInfo, 72)
	if err != nil {
		return Keys{}, err
	}
	var keys Keys
	copy(keys.Client.Key[:], out[0:32])
	copy(keys.Server.Key[:], out[32:64])
	copy(keys.Client.Prefix[:], out[64:68])
	copy(keys.Server.Prefix[:], out[68:72])
	return keys, nil
}
