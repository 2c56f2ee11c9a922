//! Admission: wrong tokens, full servers, limits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conformance::probe::{Exchange, Probe, Session, SessionOptions, request_body};
use conformance::{Config, Lab, Pinger, Token, wait_until};

use super::{GROUP, Pair, row};
use crate::SECOND;
use crate::cell::Cell;
use crate::programs::{Client, Kind, Server};
use crate::stage::Stage;

/// How both clients put a refusal.
const UNAUTHORIZED: &str = r#"err="connect failed: 401 Unauthorized (unauthorized\n)""#;
const BUSY: &str = r"503 Service Unavailable (server busy\n)";
const EXHAUSTED: &str = r"503 Service Unavailable (address pool exhausted\n)";
const LIMITED: &str = r"429 Too Many Requests (rate limited\n)";

const SECOND_POST: &str = "second POST on one connection";
const STANDS_BACK: &str =
    "Our client waits and gets in as soon as there is room; the Go client exits 1.";

/// The rows about admission.
pub(super) fn cells() -> Vec<Cell> {
    let mut cells: Vec<Cell> = [
        row(
            "wrong token",
            wrong_token,
            |_| "The client exits 1 with the recorded message.",
        ),
        row(
            "server busy (max_sessions)",
            |stage, pair| {
                let server = pair.server_config().set("max_sessions", "1");
                refused(stage, pair, server, BUSY);
            },
            |_| STANDS_BACK,
        ),
        row("address pool full", pool_full, |_| STANDS_BACK),
        row(
            "handshakes above the limit",
            handshakes_above_the_limit,
            |_| STANDS_BACK,
        ),
        row(
            "packets above the limit",
            packets_above_the_limit,
            |pair| match pair.server {
                Kind::Ours => "Dropped and counted; the session lives.",
                Kind::Go => "Dropped; the session lives.",
            },
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    cells.extend(Pair::ALL.map(|pair| {
        let reason =
            "Neither client asks twice on one connection; a probe does, see \"asked by a probe\".";
        Cell::meaningless(GROUP, SECOND_POST, &pair.column(), reason)
    }));
    cells.extend([Kind::Ours, Kind::Go].map(second_post));
    cells
}

fn pool_full(stage: &Stage, pair: Pair) {
    let server = pair.server_config().set("pool_cidr", "10.8.0.0/30");
    match pair.server {
        // An address is kept that long after its session.
        Kind::Ours => refused(stage, pair, server.set("session_timeout", "1s"), EXHAUSTED),
        // Told to look past the content length, it has answered 200 before it looks for an address.
        Kind::Go if pair.only_go() => {
            refused(stage, pair, server, "decode response: invalid character")
        }
        Kind::Go => refused(stage, pair, server, EXHAUSTED),
    }
}

fn wrong_token(stage: &Stage, pair: Pair) {
    let network = stage.network("net");
    let server = Server::start(stage, &network, pair.server, pair.server_config());
    let config = Config::client().set("token", "another-token-of-32-characters-1");
    let client = Client::spawn(
        stage,
        "client",
        &network,
        pair.client,
        server.address(),
        config,
    );
    assert_eq!(client.wait_for_exit(15 * SECOND), 1);
    client.wait_for_line(UNAUTHORIZED, SECOND);
    if pair.server == Kind::Ours {
        let metrics = server.metrics();
        // Our client asks on a second connection too where the first takes long to answer.
        let counted = metrics.handshakes("unauthorized");
        assert!((1.0..=2.0).contains(&counted), "{counted} refusals counted");
        assert_eq!(metrics.sessions(), 0.0);
    }
}

/// A server with one slot: what the second client does, and that the slot of the first is reused.
fn refused(stage: &Stage, pair: Pair, server: Config, text: &str) {
    let tunnel = pair.start(stage, server, Config::client());
    let address = tunnel.server.address();
    let mut second = Client::spawn(
        stage,
        "second",
        &tunnel.network,
        pair.client,
        address,
        Config::client(),
    );
    second.wait_for_line(text, 15 * SECOND);
    assert!(
        tunnel.client.pings(56, SECOND),
        "the first client does not notice"
    );
    match pair.client {
        Kind::Go => assert_eq!(second.wait_for_exit(5 * SECOND), 1),
        Kind::Ours => assert_eq!(second.ended(), None, "our client waits for its turn"),
    }
    tunnel.client.signal("SIGTERM");
    assert_eq!(tunnel.client.wait_for_exit(5 * SECOND), 0);
    if pair.client == Kind::Go {
        start_until_connected(&mut second);
    }
    second.wait_until_connected();
}

/// A Go client tries once: its user starts it again until there is room.
fn start_until_connected(client: &mut Client) {
    wait_until("there is room", 20 * SECOND, || {
        client.start_again();
        wait_until("it connects or ends", 10 * SECOND, || {
            client.ended().is_some() || client.inner_address().is_some()
        });
        client.ended().is_none()
    });
}

/// Other peers send so many requests that no client connects, until they stop.
fn handshakes_above_the_limit(stage: &Stage, pair: Pair) {
    let network = stage.network("net");
    let limits = pair
        .server_config()
        .set("handshake_rate", "{pps: 1, burst: 1}")
        .set("handshake_ip_rate", "{pps: -1, burst: -1}");
    let server = Server::start(stage, &network, pair.server, limits);
    let stop = AtomicBool::new(false);
    let mut client = std::thread::scope(|scope| {
        let stopping = StopAtEnd(&stop);
        scope.spawn(|| ask_in_vain(&server, &stop));
        let mut client = Client::spawn(
            stage,
            "client",
            &network,
            pair.client,
            server.address(),
            Config::client(),
        );
        // Once a second one request passes, and that may be the client's.
        wait_until("the client is refused", 30 * SECOND, || {
            wait_until("it is refused or connects", 15 * SECOND, || {
                client.output().contains(LIMITED) || client.inner_address().is_some()
            });
            let refused = client.output().contains(LIMITED);
            if !refused {
                client.kill();
                client.start_again();
            }
            refused
        });
        drop(stopping);
        client
    });
    if pair.client == Kind::Go {
        assert_eq!(client.wait_for_exit(5 * SECOND), 1);
        start_until_connected(&mut client);
    }
    client.wait_until_connected();
    if pair.server == Kind::Ours {
        assert!(server.metrics().handshakes("rate_limited") >= 1.0);
    }
}

/// Ends what a scope waits for, also where the scope is left by a panic.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Requests with the right token that open no session, one after the other; a
/// server may close a connection on which nothing else comes.
fn ask_in_vain(server: &Server, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let probe = Probe::connect(server.machine(), server.address());
        while !stop.load(Ordering::Relaxed) && ask(&probe).is_some() {}
    }
}

/// A request with the right token and a body that is refused; the status of
/// the answer, where one comes.
fn ask(probe: &Probe) -> Option<u16> {
    let (send, receive) = probe.open_stream().ok()??;
    let mut exchange = Exchange::from((send, receive));
    let body = br#"{"version":2}"#;
    exchange.write_connect_head(Token::TEXT.as_bytes(), Some(body.len()));
    exchange.write_data(body);
    exchange.finish();
    exchange.answer(5 * SECOND).map(|answer| answer.status)
}

fn packets_above_the_limit(stage: &Stage, pair: Pair) {
    let server = pair
        .server_config()
        .set("rate_limit", "{pps: 20, burst: 20}");
    let tunnel = pair.start(stage, server, Config::client());
    let pinger = Pinger::start(
        tunnel.client.machine(),
        Lab::GATEWAY.into(),
        Duration::from_millis(2),
    );
    wait_until("200 packets are sent", 10 * SECOND, || pinger.sent() >= 200);
    let (sent, replies) = pinger.stop();
    assert!(
        replies.len() < sent / 2,
        "{} of {sent} packets passed",
        replies.len()
    );
    if pair.server == Kind::Ours {
        assert!(tunnel.server.metrics().drops("rate_in") > 0.0);
    }
    wait_until("below the limit packets pass again", 10 * SECOND, || {
        tunnel.client.pings(56, SECOND)
    });
    assert_eq!(tunnel.client.ended(), None);
}

/// What no client does: a second session on one connection.
fn second_post(kind: Kind) -> Cell {
    let (column, expected) = match kind {
        Kind::Ours => ("our server", "503 `server busy`."),
        Kind::Go => (
            "go server",
            "200: the Go server opens a session for every stream.",
        ),
    };
    Cell::new("asked by a probe", SECOND_POST, column, move |stage| {
        let network = stage.network("net");
        let server = Server::start(stage, &network, kind, Config::server());
        let session = match Session::open(
            server.machine(),
            server.address(),
            &SessionOptions::default(),
        ) {
            Ok(session) => session,
            Err(answer) => panic!("the server refused a good request: {answer:?}"),
        };
        let mut second = Exchange::open(&session.probe);
        let body = request_body("AAAAAAAAAAAAAAAAAAAAAA", 1242);
        second.write_connect_head(Token::TEXT.as_bytes(), Some(body.len()));
        second.write_data(&body);
        let answer = second
            .answer(5 * SECOND)
            .expect("the server answers a request");
        match kind {
            Kind::Ours => assert_eq!(
                (answer.status, answer.text().as_str()),
                (503, "server busy\n")
            ),
            Kind::Go => assert_eq!(answer.status, 200),
        }
    })
    .expecting(expected)
}
