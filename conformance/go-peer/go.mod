module qdt.invalid/go-peer

go 1.25.0

require (
	github.com/quic-go/quic-go v0.58.0
	golang.org/x/crypto v0.45.0
	golang.org/x/sys v0.38.0
	gopkg.in/yaml.v3 v3.0.1
)

require (
	github.com/kr/text v0.2.0 // indirect
	github.com/quic-go/qpack v0.6.0 // indirect
	golang.org/x/net v0.47.0 // indirect
	golang.org/x/text v0.31.0 // indirect
)
