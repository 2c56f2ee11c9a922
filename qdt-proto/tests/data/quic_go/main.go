// Command quic_go_capture records what quic-go puts on the wire, as JSON on standard output:
// field sections of its QPACK encoder, every stream that its HTTP/3 client opens for a POST, and
// every stream that its HTTP/3 server opens or answers. Both run on loopback against a bare QUIC
// endpoint that only writes down what it reads.
//
//	go run . > capture.json
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

type section struct {
	Fields [][2]string `json:"fields"` // hex of name and value
	Block  string      `json:"block"`  // hex
}

type response struct {
	Name   string `json:"name"`
	Method string `json:"method"`
	Stream string `json:"stream"` // hex of what the server wrote on the request stream
}

type capture struct {
	Note       string     `json:"note"`
	Sections   []section  `json:"sections"`
	ClientUni  []string   `json:"client_uni"`
	ClientBidi string     `json:"client_bidi"`
	ClientJSON string     `json:"client_body"`
	ServerUni  []string   `json:"server_uni"`
	Responses  []response `json:"responses"`
}

const body = `{"version":1,"client_nonce":"BwcHBwcHBwcHBwcHBwcHBw","mtu":1350}`

func main() {
	out := capture{
		Note: "made by main.go beside this file: go run . > capture.json",
	}
	out.Sections = sections()
	out.ClientUni, out.ClientBidi = client()
	out.ClientJSON = body
	out.ServerUni, out.Responses = server()
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	check(encoder.Encode(out))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func sections() []section {
	everyByte := make([]byte, 0, 256)
	for b := 0x20; b < 0x100; b++ {
		if b != 0x7f {
			everyByte = append(everyByte, byte(b))
		}
	}
	lists := [][]qpack.HeaderField{
		{},
		{{Name: ":method", Value: "GET"}, {Name: ":path", Value: "/"}, {Name: ":scheme", Value: "https"}},
		{{Name: ":status", Value: "200"}, {Name: "date", Value: "Sun, 06 Nov 1994 08:49:37 GMT"}},
		{{Name: "x-qdt-token", Value: "kq8Jd1Zx3nT0pYv5wB7cLh2mRs4uEa6gFi9oKj_N-Q4"}},
		{{Name: "x-qdt-token", Value: "p\xc3\xa4ssw\xc3\xb6rt \xff\xfe"}},
		{{Name: "x-every-byte", Value: string(everyByte)}},
		{{Name: "x-long-name-" + strings.Repeat("abc", 60), Value: strings.Repeat("value ", 300)}},
		{{Name: "cookie", Value: ""}, {Name: "content-length", Value: "65535"}},
		{{Name: "x-frame-options", Value: "sameorigin"}, {Name: ":status", Value: "421"}},
		{{Name: "access-control-allow-methods", Value: "get, post, options"}, {Name: "age", Value: "1"}},
	}
	var result []section
	for _, list := range lists {
		var block bytes.Buffer
		encoder := qpack.NewEncoder(&block)
		if len(list) == 0 {
			block.Write([]byte{0, 0})
		}
		fields := [][2]string{}
		for _, field := range list {
			check(encoder.WriteField(field))
			fields = append(fields, [2]string{
				hex.EncodeToString([]byte(field.Name)), hex.EncodeToString([]byte(field.Value)),
			})
		}
		result = append(result, section{fields, hex.EncodeToString(block.Bytes())})
	}
	return append(result, staticTable())
}

// staticTable is a section of all 99 rows by their index, and what quic-go's decoder makes of it.
func staticTable() section {
	block := []byte{0, 0}
	for index := byte(0); index < 99; index++ {
		if index < 63 {
			block = append(block, 0xc0|index)
		} else {
			block = append(block, 0xff, index-63)
		}
	}
	next := qpack.NewDecoder().Decode(block)
	fields := [][2]string{}
	for {
		field, err := next()
		if err == io.EOF {
			return section{fields, hex.EncodeToString(block)}
		}
		check(err)
		fields = append(fields, [2]string{
			hex.EncodeToString([]byte(field.Name)), hex.EncodeToString([]byte(field.Value)),
		})
	}
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var quicConfig = &quic.Config{EnableDatagrams: true}

// recorder keeps what comes on the unidirectional streams of one connection.
type recorder struct {
	mutex sync.Mutex
	uni   []*bytes.Buffer
}

func (r *recorder) run(connection *quic.Conn) {
	for {
		stream, err := connection.AcceptUniStream(context.Background())
		if err != nil {
			return
		}
		buffer := new(bytes.Buffer)
		r.mutex.Lock()
		r.uni = append(r.uni, buffer)
		r.mutex.Unlock()
		go func() {
			chunk := make([]byte, 4096)
			for {
				n, err := stream.Read(chunk)
				r.mutex.Lock()
				buffer.Write(chunk[:n])
				r.mutex.Unlock()
				if err != nil {
					return
				}
			}
		}()
	}
}

func (r *recorder) hex() []string {
	deadline := time.Now().Add(5 * time.Second)
	for {
		r.mutex.Lock()
		if len(r.uni) > 0 && r.uni[0].Len() > 2 {
			result := []string{}
			for _, buffer := range r.uni {
				result = append(result, hex.EncodeToString(buffer.Bytes()))
			}
			r.mutex.Unlock()
			return result
		}
		r.mutex.Unlock()
		if time.Now().After(deadline) {
			log.Fatal("no unidirectional stream within 5 s")
		}
		time.Sleep(time.Millisecond)
	}
}

// client records what a quic-go HTTP/3 client sends for a POST whose content-length is 0 although
// a body follows, to an authority that is a bare IPv6 literal.
func client() ([]string, string) {
	listener, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate()}, NextProtos: []string{"h3"},
	}, quicConfig)
	check(err)
	recorded := &recorder{}
	request := make(chan string)
	go func() {
		connection, err := listener.Accept(context.Background())
		check(err)
		control, err := connection.OpenUniStream()
		check(err)
		_, err = control.Write([]byte{0, 4, 2, 0x33, 1})
		check(err)
		go recorded.run(connection)
		stream, err := connection.AcceptStream(context.Background())
		check(err)
		var read bytes.Buffer
		chunk := make([]byte, 4096)
		for !bytes.HasSuffix(read.Bytes(), []byte(body)) {
			n, err := stream.Read(chunk)
			check(err)
			read.Write(chunk[:n])
		}
		request <- hex.EncodeToString(read.Bytes())
	}()

	connection, err := quic.DialAddr(context.Background(), listener.Addr().String(), &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"h3"},
	}, quicConfig)
	check(err)
	transport := &http3.Transport{EnableDatagrams: true}
	http3Client := transport.NewClientConn(connection)
	stream, err := http3Client.OpenRequestStream(context.Background())
	check(err)
	post, err := http.NewRequest(http.MethodPost, "https://[2001:db8::1]/connect", nil)
	check(err)
	post.Host = "2001:db8::1"
	post.Header.Set("X-QDT-Token", "kq8Jd1Zx3nT0pYv5wB7cLh2mRs4uEa6gFi9oKj_N-Q4")
	check(stream.SendRequestHeader(post))
	_, err = stream.Write([]byte(body))
	check(err)
	bidi := <-request
	return recorded.hex(), bidi
}

// server records what a quic-go HTTP/3 server answers.
func server() ([]string, []response) {
	mux := http.NewServeMux()
	mux.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "server busy", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/method", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	})
	mux.HandleFunc("/connect", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		w.Write([]byte(`{"version":1}` + "\n"))
	})
	listener, err := quic.ListenAddrEarly("127.0.0.1:0", http3.ConfigureTLSConfig(&tls.Config{
		Certificates: []tls.Certificate{certificate()},
	}), quicConfig)
	check(err)
	go (&http3.Server{Handler: mux, EnableDatagrams: true}).ServeListener(listener)

	connection, err := quic.DialAddr(context.Background(), listener.Addr().String(), &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"h3"},
	}, quicConfig)
	check(err)
	recorded := &recorder{}
	go recorded.run(connection)
	control, err := connection.OpenUniStream()
	check(err)
	_, err = control.Write([]byte{0, 4, 2, 0x33, 1})
	check(err)

	var responses []response
	for _, request := range []struct{ name, method, path string }{
		{"200", "POST", "/connect"},
		{"404", "POST", "/nowhere"},
		{"503", "POST", "/busy"},
		{"405", "GET", "/method"},
		{"405 head", "HEAD", "/method"},
	} {
		var block bytes.Buffer
		encoder := qpack.NewEncoder(&block)
		for _, field := range []qpack.HeaderField{
			{Name: ":authority", Value: "vpn.example"},
			{Name: ":method", Value: request.method},
			{Name: ":path", Value: request.path},
			{Name: ":scheme", Value: "https"},
		} {
			check(encoder.WriteField(field))
		}
		stream, err := connection.OpenStream()
		check(err)
		_, err = stream.Write(append([]byte{1, byte(block.Len())}, block.Bytes()...))
		check(err)
		check(stream.Close())
		read, err := io.ReadAll(stream)
		check(err)
		responses = append(responses, response{request.name, request.method, hex.EncodeToString(read)})
	}
	return recorded.hex(), responses
}
