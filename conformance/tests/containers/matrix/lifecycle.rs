//! Restarts, stops and idle sessions.

use std::net::IpAddr;

use conformance::{Config, stay_silent, wait_until};

use super::{Pair, Tunnel, row};
use crate::SECOND;
use crate::cell::Cell;
use crate::programs::Kind;
use crate::stage::Stage;

/// The rows about life-cycles.
pub(super) fn cells() -> Vec<Cell> {
    [
        row("server restarts", server_restarts, |pair| match (pair.client, pair.server) {
            (Kind::Ours, Kind::Ours) => "The client reconnects on its own, with the same inner address.",
            (Kind::Ours, Kind::Go) => "The client reconnects on its own.",
            (Kind::Go, Kind::Ours) => "The client is reset and exits 1; started again it connects.",
            (Kind::Go, Kind::Go) => "The client gets no notice: it exits 1 after QUIC's 30 s; started again it connects.",
        }),
        row("server stops", server_stops, |pair| match pair.client {
            Kind::Ours => "The client detects it at once and waits for a server.",
            Kind::Go => "The client exits 1 at its next packet.",
        }),
        row("client restarts", client_restarts, |_| ""),
        row("idle past session_timeout", idle, |pair| match (pair.client, pair.server) {
            (_, Kind::Ours) => "An idle session lasts as long as its QUIC connection.",
            (Kind::Ours, Kind::Go) => "The Go server drops the session silently; our client detects that and reconnects.",
            (Kind::Go, Kind::Go) => "The Go server drops the session silently; the Go client's packets are lost.",
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// SIGKILL and a new start in the same place.
fn server_restarts(stage: &Stage, pair: Pair) {
    let Tunnel {
        mut client,
        mut server,
        network,
    } = pair.start(stage, pair.server_config(), Config::client());
    let (inner, outer) = (client.inner_address(), IpAddr::V4(server.ipv4()));
    server.kill();
    server.restart(outer);
    match pair.client {
        Kind::Ours => {
            wait_until("the tunnel is back", 15 * SECOND, || {
                client.pings(56, SECOND)
            });
            assert_eq!(client.ended(), None);
            if pair.server == Kind::Ours {
                assert_eq!(
                    client.inner_address(),
                    inner,
                    "a ticket brings the address back"
                );
            }
        }
        Kind::Go => {
            let patience = if pair.server == Kind::Ours { 10 } else { 45 };
            wait_until("the end of the Go client", patience * SECOND, || {
                let _ = client.pings(56, SECOND / 10);
                client.ended().is_some()
            });
            assert_eq!(client.ended(), Some(1));
            client.start_again();
            client.wait_until_connected();
        }
    }
    drop((client, server));
    drop(network);
}

/// What `docker stop` does.
fn server_stops(stage: &Stage, pair: Pair) {
    let Tunnel {
        client,
        server,
        network,
    } = pair.start(stage, pair.server_config(), Config::client());
    assert_eq!(server.stop(), 0);
    match pair.client {
        Kind::Ours => {
            client.wait_for_line("connection lost", 5 * SECOND);
            assert_eq!(client.ended(), None);
        }
        Kind::Go => {
            wait_until("the end of the Go client", 10 * SECOND, || {
                let _ = client.pings(56, SECOND / 10);
                client.ended().is_some()
            });
            assert_eq!(client.ended(), Some(1));
        }
    }
    drop((client, server));
    drop(network);
}

/// Stopped, and killed; each time it is started again.
fn client_restarts(stage: &Stage, pair: Pair) {
    let mut tunnel = pair.start(stage, pair.server_config(), Config::client());
    tunnel.client.signal("SIGTERM");
    assert_eq!(tunnel.client.wait_for_exit(5 * SECOND), 0);
    if pair.server == Kind::Ours {
        wait_until("the session is over", 5 * SECOND, || {
            tunnel.server.metrics().sessions() == 0.0
        });
    }
    tunnel.client.start_again();
    tunnel.client.wait_until_connected();
    tunnel.client.kill();
    tunnel.client.start_again();
    tunnel.client.wait_until_connected();
}

fn idle(stage: &Stage, pair: Pair) {
    let server = pair.server_config().set("session_timeout", "2s");
    let tunnel = pair.start(stage, server, Config::client());
    match pair.server {
        Kind::Ours => {
            // Where the machine is busy our client has opened a second session and left one of the
            // two.
            let before = tunnel.server.metrics().handshakes("ok");
            stay_silent(6 * SECOND);
            assert!(tunnel.client.pings(56, SECOND));
            let after = tunnel.server.metrics().handshakes("ok");
            assert_eq!(after, before, "in the same session");
        }
        Kind::Go => {
            tunnel.server.wait_for_line("session closed", 15 * SECOND);
            if pair.client == Kind::Ours {
                wait_until("the tunnel is back", 20 * SECOND, || {
                    tunnel.client.pings(56, SECOND)
                });
            } else {
                assert!(!tunnel.client.pings(56, SECOND), "the Go server remembers");
            }
        }
    }
    assert_eq!(tunnel.client.ended(), None);
}
