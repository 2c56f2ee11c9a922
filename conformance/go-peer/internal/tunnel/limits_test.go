package tunnel

import (
	"io"
	"net/http"
	"testing"
)

func TestRequestsAboveTheRateAreRefusedBehindTheToken(t *testing.T) {
	for name, change := range map[string]func(*Server){
		"of all":          func(s *Server) { s.Config.HandshakeRate = Rate{PPS: 0.001, Burst: 1} },
		"of each address": func(s *Server) { s.Config.HandshakeIPRate = Rate{PPS: 0.001, Burst: 1} },
	} {
		server := startServer(t, func(s *Server) {
			s.Config.LenientContentLength = false
			change(s)
		})
		for _, c := range []struct {
			token, answer string
			status        int
		}{
			{"secret", "bad request\n", 400},
			{"secret", "rate limited\n", 429},
			{"wrong", "unauthorized\n", 401},
		} {
			response := post(t, server.address, c.token, `{"version":2}`)
			text, _ := io.ReadAll(response.Body)
			if response.StatusCode != c.status || string(text) != c.answer {
				t.Errorf("%s: %d %q instead of %d %q", name, response.StatusCode, text, c.status, c.answer)
			}
		}
	}
}

func TestMoreSessionsThanAllowedAreBusy(t *testing.T) {
	server := startServer(t, func(s *Server) { s.Config.MaxSessions = 1 })
	startClient(t, server.address).connected(t)
	response := post(t, server.address, "secret", `{"version":1}`)
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode != 503 || string(text) != "server busy\n" {
		t.Errorf("%d %q", response.StatusCode, text)
	}
}

func TestAFullPoolIsToldBeforeANonceOfAnotherLength(t *testing.T) {
	for pool, status := range map[string]int{
		"10.8.0.0/30": http.StatusInternalServerError,
		"10.8.0.0/31": http.StatusServiceUnavailable, // No address besides the gateway's.
	} {
		server := startServer(t, func(s *Server) {
			s.Config.PoolCIDR = pool
			s.Config.LenientContentLength = false
		})
		response := post(t, server.address, "secret", `{"version":1,"client_nonce":"AAAA"}`)
		if response.StatusCode != status {
			t.Errorf("%s: status %d instead of %d", pool, response.StatusCode, status)
		}
	}
}

func TestABucketHoldsItsBurstAndNoBucketHoldsEverything(t *testing.T) {
	limited := newBucket(Rate{PPS: 0.001, Burst: 2})
	if !limited.take() || !limited.take() || limited.take() {
		t.Error("a burst of two is two")
	}
	for range 1000 {
		if !newBucket(Rate{}).take() {
			t.Error("a limit that is not configured has refused")
		}
	}
}
