//! A second independent stack: the client on aioquic (conformance/aioquic) in its container,
//! against our server. It shares no code with the programs, so what passes here follows the
//! protocol and not one library.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use conformance::{Config, Token, wait_until};
use serde_json::Value;

use crate::SECOND;
use crate::cell::Cell;
use crate::container::{Container, Spec};
use crate::programs::{Kind, Server};
use crate::stage::Stage;

/// How long a run of the peer may take: Python starts slowly where much else runs.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The `mtu` of our server for a peer without our extensions, and the inner packet that fits it.
const MTU: u64 = 1242;
const WHOLE: u64 = MTU - 38;

/// The cells of the topic.
pub(crate) fn cells() -> Vec<Cell> {
    let cell = |name, run: fn(&Stage)| Cell::named("second stack", name, run);
    vec![
        cell(
            "the recorded vectors hold for aioquic's client too",
            vectors,
        ),
        cell(
            "a session opens, carries pings and ends with its connection",
            session,
        ),
        cell(
            "packets of every size pass in both directions, whole and in fragments",
            sizes,
        ),
        cell(
            "an mtu of 576 makes more fragments and loses nothing",
            small_mtu,
        ),
        cell("the tunnel works over IPv6 too", over_ipv6),
        cell(
            "a wrong token gets the documented 401 and no session",
            wrong_token,
        ),
        cell(
            "datagrams that come before the answer harm nothing",
            early_datagrams,
        ),
        cell(
            "what a peer must not send is dropped, counted and not answered",
            misbehaviour,
        ),
        cell(
            "a second request on a connection is answered busy and the first session goes on",
            second_request,
        ),
        cell("a server that stops notifies the peer", server_stops),
    ]
}

fn vectors(stage: &Stage) {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors");
    let peer = Spec::new("aioquic", "qdt-aioquic")
        .unprivileged()
        .mount(vectors, "/vectors", true)
        .command(&["selftest", "/vectors"])
        .start(stage);
    let peer = Peer(peer);
    peer.ends_with(0);
    for (file, cases) in [
        ("key_schedule", 12),
        ("datagrams", 14),
        ("receive_steps", 1),
        ("replay", 6),
        ("nonce_base64", 13),
    ] {
        let line = peer
            .events("vectors")
            .into_iter()
            .find(|line| line["file"] == file);
        let found = line.and_then(|line| line["cases"].as_u64());
        assert!(
            found >= Some(cases),
            "{file}: {found:?} cases, at least {cases} are recorded"
        );
    }
}

fn session(stage: &Stage) {
    let lab = Setting::new(stage);
    let peer = lab.peer(stage, &["--sizes", "84,84,84", "--hold"]);
    peer.container().wait_for_line("\"holding\"", TIMEOUT);
    let during = lab.server.metrics();
    assert_eq!((during.sessions(), during.handshakes("ok")), (1.0, 1.0));
    peer.container().signal("SIGTERM");
    peer.ends_with(0);
    lab.wait_for_no_session();

    let connected = peer.event("connected");
    assert_eq!(
        connected["h3_datagram"], 1,
        "the server's SETTINGS: {connected}"
    );
    let opened = peer.event("session");
    assert_eq!(
        (&opened["version"], &opened["mtu"]),
        (&1.into(), &MTU.into())
    );
    assert_eq!(opened["gateway_ip"], "10.8.0.1");
    assert_eq!(opened["cidr"], "10.8.0.0/24");
    assert_eq!(
        opened.get("caps"),
        None,
        "nothing was announced, so nothing is confirmed"
    );
    let id = opened["session_id"]
        .as_u64()
        .expect("a number of 64 bits")
        .to_string();
    let log = lab.server.wait_for_line("session closed", SECOND);
    assert!(
        log.contains(&id) && log.contains("closed by the client"),
        "{log}"
    );
    assert_eq!(peer.events("pong").len(), 3);
    let end = peer.event("end");
    assert_eq!(
        end["request_open"], true,
        "the request stream stays open for the session's life"
    );
    assert_eq!(
        end["refused"],
        Value::Array(Vec::new()),
        "all that came was right"
    );
}

fn sizes(stage: &Stage) {
    let lab = Setting::new(stage);
    // The smallest echo request, around one datagram, the TUN's mtu, and packets that the kernel
    // answers in pieces.
    let sizes = [
        28,
        84,
        WHOLE - 1,
        WHOLE,
        WHOLE + 1,
        1300,
        1312,
        1313,
        4000,
        9000,
        65535,
    ];
    let peer = lab.peer(stage, &["--sizes", &list(&sizes)]);
    peer.ends_with(0);
    lab.wait_for_no_session();
    let pongs = peer.events("pong");
    assert_eq!(pongs.len(), sizes.len());
    for (size, pong) in sizes.into_iter().zip(&pongs) {
        assert_eq!(pong["size"], size);
        assert_eq!(pong["sent_datagrams"], datagrams(size, MTU), "{pong}");
        if size <= 1312 {
            // The answer is one packet, cut as the request was.
            assert_eq!(pong["received_datagrams"], datagrams(size, MTU), "{pong}");
            assert_eq!(pong["ip_fragments"], 0, "{pong}");
        } else {
            assert!(pong["ip_fragments"].as_u64() > Some(1), "{pong}");
        }
    }
    let fragments = |size| {
        Some(datagrams(size, MTU))
            .filter(|count| *count > 1)
            .unwrap_or(0)
    };
    let sent: u64 = sizes.into_iter().map(fragments).sum();
    let metrics = lab.server.metrics();
    assert_eq!(
        metrics.value("qdt_fragments_total{direction=\"in\"}"),
        float(sent)
    );
    assert_eq!(
        metrics.value("qdt_fragments_total{direction=\"out\"}"),
        float(peer.event("end")["fragments"].as_u64().expect("a count")),
        "every fragment that was sent arrived"
    );
    let bytes: u64 = sizes.into_iter().sum();
    assert_eq!(
        metrics.value("qdt_bytes_total{direction=\"in\"}"),
        float(bytes)
    );
    assert_eq!(metrics.drops("decode"), 0.0);
}

fn small_mtu(stage: &Stage) {
    let lab = Setting::new(stage);
    let sizes = [538, 539, 1064, 1065, 1300, 9000];
    let peer = lab.peer(stage, &["--mtu", "576", "--sizes", &list(&sizes)]);
    peer.ends_with(0);
    assert_eq!(peer.event("session")["mtu"], 576);
    let sent: Vec<_> = peer
        .events("pong")
        .iter()
        .map(|pong| pong["sent_datagrams"].as_u64())
        .collect();
    assert_eq!(sent, sizes.map(|size| Some(datagrams(size, 576))));
    assert_eq!(peer.event("end")["refused"], Value::Array(Vec::new()));
}

fn over_ipv6(stage: &Stage) {
    let lab = Setting::new(stage);
    let peer = lab.peer_to(
        stage,
        lab.server.address_v6(),
        Token::TEXT,
        &["--sizes", "84,1300"],
    );
    peer.ends_with(0);
    assert_eq!(peer.events("pong").len(), 2);
    lab.wait_for_no_session();
}

fn wrong_token(stage: &Stage) {
    let lab = Setting::new(stage);
    let peer = lab.peer_to(
        stage,
        lab.server.address(),
        "another-token-of-32-characters-1",
        &[],
    );
    peer.ends_with(1);
    let refused = peer.event("refused");
    assert_eq!(refused["status"], 401);
    assert_eq!(refused["body"], "unauthorized\n");
    let headers = &refused["headers"];
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["content-length"], "13");
    assert!(headers["date"].is_string(), "{headers}");
    let metrics = lab.server.metrics();
    assert_eq!(
        (metrics.handshakes("unauthorized"), metrics.handshakes("ok")),
        (1.0, 0.0)
    );
    assert_eq!(metrics.sessions(), 0.0);
    assert!(!lab.server.output().contains("session opened"));
}

fn early_datagrams(stage: &Stage) {
    let lab = Setting::new(stage);
    let peer = lab.peer(stage, &["--early", "50", "--sizes", "84,1300"]);
    peer.ends_with(0);
    assert_eq!(peer.events("pong").len(), 2);
    let metrics = lab.server.metrics();
    // Those that outran the request belong to nothing, as do IPv6 packets of the server's own
    // kernel, where it sends any into the TUN; the others are junk of this session.
    let (outran, junk) = (metrics.drops("no_session"), metrics.drops("decode"));
    assert!(outran + junk >= 50.0 && junk <= 50.0, "{}", metrics.text());
    assert_eq!(metrics.value("qdt_packets_total{direction=\"in\"}"), 2.0);
    lab.wait_for_no_session();
}

fn misbehaviour(stage: &Stage) {
    let lab = Setting::new(stage);
    let peer = lab.peer(stage, &["--misbehave", "--hold"]);
    peer.container().wait_for_line("\"holding\"", TIMEOUT);
    // Nothing overtakes on one connection, and the ping after it all was answered.
    let metrics = lab.server.metrics();
    let expected = peer.event("misbehaved")["expected"].clone();
    let expected = expected.as_object().expect("counts by reason");
    assert_eq!(expected.len(), 4, "{expected:?}");
    for (reason, count) in expected {
        assert_eq!(
            Some(metrics.drops(reason)),
            count.as_f64(),
            "drops for {reason}"
        );
    }
    // One ping before, one good packet that was sent twice, one ping after it.
    assert_eq!(metrics.value("qdt_packets_total{direction=\"in\"}"), 3.0);
    assert_eq!(metrics.sessions(), 1.0, "and the session lives");
    peer.container().signal("SIGTERM");
    peer.ends_with(0);
    assert_eq!(peer.event("end")["refused"], Value::Array(Vec::new()));
    lab.wait_for_no_session();
}

fn second_request(stage: &Stage) {
    let lab = Setting::new(stage);
    let peer = lab.peer(stage, &["--again"]);
    peer.ends_with(0);
    let refused = peer.event("refused_again");
    assert_eq!(refused["status"], 503);
    assert_eq!(refused["body"], "server busy\n");
    assert_eq!(peer.events("pong").len(), 2, "one before and one after it");
    let metrics = lab.server.metrics();
    assert_eq!(
        (metrics.handshakes("ok"), metrics.handshakes("busy")),
        (1.0, 1.0)
    );
    lab.wait_for_no_session();
}

fn server_stops(stage: &Stage) {
    let lab = Setting::new(stage);
    let peer = lab.peer(stage, &["--hold"]);
    peer.container().wait_for_line("\"holding\"", TIMEOUT);
    lab.server.signal("SIGTERM");
    peer.ends_with(1);
    let error = peer.event("error");
    assert_eq!(error["kind"], "Ended");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("code 0x100"), "{message}");
    assert_eq!(lab.server.wait_for_exit(TIMEOUT), 0);
}

/// A server in its own network.
struct Setting {
    network: crate::network::Network,
    server: Server,
}

impl Setting {
    #[track_caller]
    fn new(stage: &Stage) -> Self {
        let network = stage.network("net");
        let server = Server::start(stage, &network, Kind::Ours, Config::server());
        Self { network, server }
    }

    /// The peer, with the right token, over IPv4.
    #[track_caller]
    fn peer(&self, stage: &Stage, arguments: &[&str]) -> Peer {
        self.peer_to(stage, self.server.address(), Token::TEXT, arguments)
    }

    #[track_caller]
    fn peer_to(&self, stage: &Stage, server: SocketAddr, token: &str, arguments: &[&str]) -> Peer {
        // The folder is root's own; the peer in its container is not root.
        let path = stage.folder().join("token");
        fs::write(&path, token).expect("the cell's folder is writable");
        let server = server.to_string();
        let command = [
            &["ping", "--server", &server, "--token-file", "/token"],
            arguments,
        ]
        .concat();
        let peer = Spec::new("aioquic", "qdt-aioquic")
            .unprivileged()
            .mount(&path.to_string_lossy(), "/token", true)
            .command(&command)
            .network(&self.network)
            .start(stage);
        Peer(peer)
    }

    #[track_caller]
    fn wait_for_no_session(&self) {
        wait_until("qdt_sessions_active is back at 0", 5 * SECOND, || {
            self.server.metrics().sessions() == 0.0
        });
    }
}

/// The peer in its container; it says what it did in one JSON object a line.
struct Peer(Container);

impl Peer {
    fn container(&self) -> &Container {
        &self.0
    }

    /// Waits for its end.
    #[track_caller]
    fn ends_with(&self, code: i64) {
        let ended = self.0.wait_for_exit(TIMEOUT);
        assert_eq!(
            ended,
            code,
            "the peer's exit code; it said:\n{}",
            self.0.output()
        );
    }

    /// Every line of that kind.
    #[track_caller]
    fn events(&self, kind: &str) -> Vec<Value> {
        let output = self.0.stdout();
        let lines = output.lines().map(|line| {
            serde_json::from_str::<Value>(line)
                .unwrap_or_else(|error| panic!("{line:?} is not JSON: {error}"))
        });
        lines.filter(|line| line["event"] == kind).collect()
    }

    /// The one line of that kind.
    #[track_caller]
    fn event(&self, kind: &str) -> Value {
        let mut events = self.events(kind);
        assert_eq!(
            events.len(),
            1,
            "lines with {kind:?} in\n{}",
            self.0.output()
        );
        events.remove(0)
    }
}

/// How many datagrams an inner packet of that size needs.
fn datagrams(size: u64, mtu: u64) -> u64 {
    if size <= mtu - 38 {
        1
    } else {
        size.div_ceil(mtu - 50)
    }
}

fn list(sizes: &[u64]) -> String {
    sizes
        .iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn float(count: u64) -> f64 {
    count as f64
}
