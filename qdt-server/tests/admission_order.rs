//! The response to each request, including requests with several faults.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use qdt_program::Token;
use qdt_proto::datagram::{Aead, SessionId};
use qdt_proto::handshake::{ConnectRequest, ConnectResponse, Nonce, SessionKeys};
use qdt_proto::http3::RequestHead;
use qdt_server::address::{AddressPool, TicketSealer};
use qdt_server::admission::{
    AdmissionController, AdmissionSettings, Outcome, Reservation, SessionEntry,
};
use qdt_server::config::Rate;
use qdt_transport::{Admission as _, Decision, Grant, Refusal, RequestContext, SessionLimits};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
const TOKEN: &[u8] = b"a token of \xff bytes";
const NONCE: &str = "BwcHBwcHBwcHBwcHBwcHBw";

fn settings() -> AdmissionSettings {
    AdmissionSettings {
        cidr: "10.8.0.0/24".into(),
        gateway: GATEWAY.into(),
        dns: Vec::new(),
        mtu: 1350,
        max_sessions: None,
        handshakes: None,
        handshakes_per_address: None,
        guesses_per_address: Rate { pps: 20, burst: 40 },
        limit_ttl: Duration::from_secs(60),
        session_limits: SessionLimits {
            pps: 10_000,
            burst: 20_000,
        },
        session_timeout: Duration::from_secs(120),
        session_shards: 8,
    }
}

/// A controller, and the moment at which a test happens.
struct Server {
    admission: AdmissionController,
    now: Instant,
}

fn server(settings: AdmissionSettings) -> Server {
    let now = Instant::now();
    let network: IpNet = settings.cidr.parse().unwrap();
    let pool = AddressPool::new(network, GATEWAY.into()).unwrap();
    let tickets = TicketSealer::new(&[1; 32], None);
    let admission = AdmissionController::new(
        settings,
        pool,
        Token::new(TOKEN),
        tickets,
        now,
        SystemTime::now,
    );
    admission.set_ready(true);
    Server { admission, now }
}

fn peer() -> SocketAddr {
    "192.0.2.1:5000".parse().unwrap()
}

fn head(method: &str, path: &str, token: Option<&[u8]>) -> RequestHead {
    let headers = token.map(|token| (b"x-qdt-token".to_vec(), token.to_vec()));
    RequestHead {
        method: method.into(),
        path: path.into(),
        headers: headers.into_iter().collect(),
        scheme: b"https".to_vec(),
        authority: None,
        protocol: None,
    }
}

fn good_head() -> RequestHead {
    head("POST", "/connect", Some(TOKEN))
}

fn request() -> ConnectRequest {
    ConnectRequest {
        version: 1,
        client_nonce: NONCE.into(),
        mtu: 1350,
        caps: Vec::new(),
        client_id: String::new(),
        platform: String::new(),
        max_mtu: None,
        resume: None,
    }
}

fn ours() -> ConnectRequest {
    ConnectRequest {
        caps: vec!["aes-256-gcm".into(), "ping".into(), "close".into()],
        mtu: 1242,
        max_mtu: Some(1400),
        ..request()
    }
}

fn context(peer: SocketAddr, now: Instant) -> RequestContext {
    RequestContext {
        peer,
        worker: 3,
        now,
    }
}

impl Server {
    fn context(&self) -> RequestContext {
        context(peer(), self.now)
    }

    fn head(&self, head: &RequestHead) -> Result<Reservation, Refusal> {
        self.admission.head(head, &self.context(), false)
    }

    fn body(&self, reservation: Reservation, body: Option<&[u8]>) -> Result<Grant, Refusal> {
        match self.admission.body(reservation, body, &self.context()) {
            Decision::Granted(grant) => Ok(*grant),
            Decision::Refused(refusal) => Err(refusal),
            Decision::Pending(_) => panic!("the decision must be immediate"),
        }
    }

    fn connect(&self, request: &ConnectRequest) -> Result<Grant, Refusal> {
        let reservation = self.head(&good_head())?;
        self.body(reservation, Some(&request.encode()))
    }

    fn end(&self, session: SessionId) {
        self.admission
            .session_ended(session, "the test ended it", self.now);
    }

    /// The counters above zero.
    fn counted(&self) -> Vec<(&'static str, u64)> {
        self.admission
            .counters()
            .snapshot()
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

fn decode(grant: &Grant) -> ConnectResponse {
    ConnectResponse::decode(&grant.response).unwrap()
}

fn refusal(result: Result<Grant, Refusal>) -> (u16, &'static str) {
    let refusal = result.expect_err("granted");
    (refusal.status, refusal.body)
}

#[test]
fn the_responses_are_the_documented_ones() {
    let documented: [(u16, &str, &str); 14] = [
        (503, "not ready", "not_ready"),
        (405, "method not allowed", "method"),
        (401, "unauthorized", "unauthorized"),
        (429, "rate limited", "rate_limited"),
        (503, "server busy", "busy"),
        (400, "not http3", "not_http3"),
        (400, "bad request", "bad_request"),
        (400, "bad nonce", "bad_nonce"),
        (500, "nonce error", "nonce_error"),
        (500, "session id error", "session_id_error"),
        (503, "address pool exhausted", "pool_exhausted"),
        (500, "invalid client ip", "bad_ip"),
        (500, "key derivation error", "key_derivation_error"),
        (500, "cipher error", "cipher_error"),
    ];
    let ours: Vec<_> = Outcome::COUNTED
        .iter()
        .filter(|outcome| **outcome != Outcome::Ok)
        .map(|outcome| (outcome.status(), outcome.body(), outcome.label()))
        .collect();
    assert_eq!(ours, documented);
}

#[test]
fn the_first_fault_in_the_documented_order_decides_the_answer() {
    // Each head has all the faults of the rows below it as well.
    let server = server(AdmissionSettings {
        handshakes: Some(Rate { pps: 1, burst: 1 }),
        max_sessions: Some(0),
        ..settings()
    });
    server.admission.set_ready(false);
    let of = |head: &RequestHead| server.head(head).err().map(|r| (r.status, r.body));
    assert_eq!(of(&head("GET", "/connect", None)), Some((503, "not ready")));
    server.admission.set_ready(true);
    for method in ["GET", "HEAD", "PUT", "CONNECT", "post"] {
        assert_eq!(
            of(&head(method, "/connect", None)),
            Some((405, "method not allowed"))
        );
    }
    for token in [None, Some(&b""[..]), Some(b"wrong"), Some(&TOKEN[..5])] {
        assert_eq!(
            of(&head("POST", "/connect", token)),
            Some((401, "unauthorized"))
        );
    }
    // This request takes the only permission; a ticket might still need no slot.
    let full = server.head(&good_head()).unwrap();
    assert_eq!(of(&good_head()), Some((429, "rate limited")));
    assert_eq!(
        refusal(server.body(full, Some(b"no json"))),
        (503, "server busy")
    );
    assert_eq!(
        server.counted(),
        [
            ("not_ready", 1),
            ("method", 5),
            ("unauthorized", 4),
            ("rate_limited", 1),
            ("busy", 1)
        ]
    );
}

#[test]
fn the_body_is_checked_in_the_documented_order_too() {
    let server = server(AdmissionSettings {
        cidr: "10.8.0.0/30".into(),
        ..settings()
    });
    let body = |body: Option<&[u8]>| refusal(server.body(server.head(&good_head()).unwrap(), body));
    let nonce = |text: &str| {
        ConnectRequest {
            client_nonce: text.into(),
            ..request()
        }
        .encode()
    };
    let only = server.connect(&request()).unwrap();
    for bad in [
        None,
        Some(&b""[..]),
        Some(b"null"),
        Some(b"{}"),
        Some(b"{\"version\":2}"),
        Some(b"[1]"),
    ] {
        assert_eq!(body(bad), (400, "bad request"), "{bad:?}");
    }
    assert_eq!(body(Some(&nonce("=="))), (400, "bad nonce"));
    assert_eq!(body(Some(&nonce("AAAA"))), (503, "address pool exhausted"));
    server.end(only.id);
    let later = server.now + Duration::from_secs(120);
    for address in server.admission.expire_addresses(later) {
        server.admission.release_address(address);
    }
    assert_eq!(body(Some(&nonce("AAAA"))), (500, "key derivation error"));
    assert_eq!(body(Some(&nonce(""))), (500, "key derivation error"));
    assert!(
        server.connect(&request()).is_ok(),
        "a refused request took the address"
    );
}

#[test]
fn the_first_value_of_the_token_header_counts() {
    let server = server(settings());
    let two = |first: &[u8], second: &[u8]| RequestHead {
        headers: vec![
            (b"x-qdt-token".to_vec(), first.to_vec()),
            (b"x-qdt-token".to_vec(), second.to_vec()),
        ],
        ..good_head()
    };
    assert!(server.head(&two(TOKEN, b"wrong")).is_ok());
    assert_eq!(
        server.head(&two(b"wrong", TOKEN)).err().unwrap().status,
        401
    );
}

#[test]
fn u5_a_thousand_guesses_from_one_address_get_the_configured_number_of_answers() {
    let server = server(settings());
    let guess = || {
        server
            .head(&head("POST", "/connect", Some(b"guess")))
            .err()
            .unwrap()
            .status
    };
    let answers: Vec<_> = (0..1000).map(|_| guess()).collect();
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 40);
    assert!(answers[40..].iter().all(|status| *status == 429));
    // Then the right token is refused too, or guessing would go on.
    assert_eq!(server.head(&good_head()).err().unwrap().status, 429);
    let other = server.admission.head(
        &good_head(),
        &context("192.0.2.2:1".parse().unwrap(), server.now),
        false,
    );
    assert!(other.is_ok(), "another address pays for it");
    let later = server.now + Duration::from_secs(1);
    assert!(
        server
            .admission
            .head(&good_head(), &context(peer(), later), false)
            .is_ok()
    );
}

#[test]
fn u5_right_tokens_do_not_count_as_guesses() {
    let server = server(settings());
    for _ in 0..1000 {
        assert!(server.head(&good_head()).is_ok());
    }
}

#[test]
fn handshake_limits_hold_in_total_and_per_address() {
    let server = server(AdmissionSettings {
        handshakes: Some(Rate { pps: 1, burst: 10 }),
        handshakes_per_address: Some(Rate { pps: 1, burst: 4 }),
        ..settings()
    });
    let from = |address: &str| {
        let peer = format!("{address}:1").parse().unwrap();
        (0..100)
            .filter(|_| {
                server
                    .admission
                    .head(&good_head(), &context(peer, server.now), false)
                    .is_ok()
            })
            .count()
    };
    assert_eq!(from("192.0.2.1"), 4);
    // The refusals of the first address have not used up the total.
    assert_eq!(from("192.0.2.2"), 4);
    assert_eq!(from("192.0.2.3"), 2);
    assert_eq!(from("192.0.2.4"), 0);
}

#[test]
fn concurrent_requests_never_exceed_max_sessions() {
    let server = server(AdmissionSettings {
        max_sessions: Some(7),
        ..settings()
    });
    let granted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..5)
                        .filter(|_| server.connect(&request()).is_ok())
                        .count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!((granted, server.admission.sessions().len()), (7, 7));
    assert_eq!(refusal(server.connect(&request())), (503, "server busy"));
}

#[test]
fn a_dropped_reservation_and_an_ended_session_free_their_slot() {
    let server = server(AdmissionSettings {
        max_sessions: Some(1),
        ..settings()
    });
    drop(server.head(&good_head()).unwrap());
    let first = server.connect(&request()).unwrap();
    assert_eq!(refusal(server.connect(&request())), (503, "server busy"));
    server.end(first.id);
    assert!(server.connect(&request()).is_ok());
}

#[test]
fn thirty_two_sessions_on_one_connection_are_one() {
    let server = server(settings());
    assert!(server.connect(&request()).is_ok());
    for _ in 1..32 {
        let second = server.admission.head(&good_head(), &server.context(), true);
        assert_eq!(
            second.err().unwrap(),
            Refusal {
                status: 503,
                body: "server busy"
            }
        );
    }
    assert_eq!(server.counted(), [("busy", 31), ("ok", 1)]);
}

#[test]
fn a_go_peer_gets_exactly_the_go_servers_fields_and_an_mtu_it_survives() {
    let server = server(AdmissionSettings {
        dns: vec!["1.1.1.1".into()],
        ..settings()
    });
    let go = ConnectRequest {
        caps: vec!["fragment".into(), "aead".into()],
        ..request()
    };
    let granted = server.connect(&go).unwrap();
    let response = decode(&granted);
    let expected = format!(
        "{{\"version\":1,\"session_id\":{},\"server_nonce\":\"{}\",\"mtu\":1242,\
         \"client_ip\":\"10.8.0.2\",\"gateway_ip\":\"10.8.0.1\",\"cidr\":\"10.8.0.0/24\",\
         \"dns\":[\"1.1.1.1\"]}}\n",
        granted.id.0, response.server_nonce
    );
    assert_eq!(
        String::from_utf8(granted.response.clone()).unwrap(),
        expected
    );
    assert_eq!((granted.mtu, granted.aead), (1242, Aead::ChaCha20Poly1305));
}

#[test]
fn both_ends_derive_the_same_keys_from_the_response() {
    let server = server(settings());
    let granted = server.connect(&request()).unwrap();
    let server_nonce = Nonce::from_text(&decode(&granted).server_nonce).unwrap();
    let client_nonce = Nonce::from_text(NONCE).unwrap();
    let keys = SessionKeys::derive(TOKEN, &client_nonce, &server_nonce).unwrap();
    assert_eq!(keys.client.key(), granted.keys.client.key());
    assert_eq!(keys.server.key(), granted.keys.server.key());
}

#[test]
fn our_client_gets_the_capabilities_of_both_ends() {
    let server = server(settings());
    let granted = server.connect(&ours()).unwrap();
    let response = decode(&granted);
    assert_eq!((granted.mtu, granted.aead), (1350, Aead::Aes256Gcm));
    assert_eq!(response.caps.unwrap(), ["aes-256-gcm", "ping", "close"]);
    assert!(response.resume.is_some());
    let some = ConnectRequest {
        caps: vec!["ping".into(), "later".into()],
        ..ours()
    };
    let granted = server.connect(&some).unwrap();
    assert_eq!(decode(&granted).caps.unwrap(), ["ping"]);
    assert_eq!(granted.aead, Aead::ChaCha20Poly1305);
}

#[test]
fn h8_a_tiny_mtu_is_raised_to_the_floor_and_a_huge_one_cut() {
    let server = server(settings());
    for asked in (0..=60).chain([i64::MAX, 576, 575]) {
        let mtu = server
            .connect(&ConnectRequest {
                mtu: asked,
                ..request()
            })
            .unwrap()
            .mtu;
        let expected = if asked == 0 || asked > 1242 {
            1242
        } else {
            576
        };
        assert_eq!(mtu, expected, "asked for {asked}");
    }
    let tiny = ConnectRequest {
        max_mtu: Some(1),
        ..ours()
    };
    assert_eq!(server.connect(&tiny).unwrap().mtu, 576);
}

#[test]
fn a_ticket_moves_the_address_from_the_old_session_to_the_new_one() {
    let server = server(AdmissionSettings {
        max_sessions: Some(1),
        ..settings()
    });
    let first = server.connect(&ours()).unwrap();
    let resume = decode(&first).resume;
    // The server is full, but this request needs no slot of its own.
    let second = server
        .connect(&ConnectRequest { resume, ..ours() })
        .unwrap();
    assert_eq!(second.inner, first.inner);
    assert_eq!(second.replaces, Some((3, first.id)));
    assert_ne!(second.id, first.id);
    server.end(first.id);
    assert_eq!(server.admission.sessions().len(), 1);
    assert_eq!(server.admission.held_addresses(), 0);
    assert_eq!(refusal(server.connect(&ours())), (503, "server busy"));
}

#[test]
fn a_refused_request_with_a_ticket_ends_no_session() {
    let server = server(settings());
    let first = server.connect(&ours()).unwrap();
    let resume = decode(&first).resume;
    let bad = ConnectRequest {
        resume: resume.clone(),
        client_nonce: "AAAA".into(),
        ..ours()
    };
    assert_eq!(refusal(server.connect(&bad)), (500, "key derivation error"));
    let again = server
        .connect(&ConnectRequest { resume, ..ours() })
        .unwrap();
    assert_eq!(again.replaces, Some((3, first.id)));
}

#[test]
fn a_restarted_server_gives_the_bearer_of_a_ticket_its_address() {
    let before = server(settings());
    before.connect(&ours()).unwrap();
    let mine = before.connect(&ours()).unwrap();
    let resume = decode(&mine).resume;
    let after = server(settings());
    let again = after.connect(&ConnectRequest { resume, ..ours() }).unwrap();
    assert_eq!((again.inner, again.replaces), (mine.inner, None));
    let junk = ConnectRequest {
        resume: Some("junk".into()),
        ..ours()
    };
    assert!(
        after.connect(&junk).is_ok(),
        "a bad ticket costs the address, not the session"
    );
}

#[test]
fn a_ticket_from_before_a_change_of_the_pool_claims_no_address_of_the_new_one() {
    let before = server(settings());
    before.connect(&ours()).unwrap();
    let resume = decode(&before.connect(&ours()).unwrap()).resume;
    let cidr = "10.9.0.0/24".into();
    let after = server(AdmissionSettings { cidr, ..settings() });
    let fresh = after.connect(&ConnectRequest { resume, ..ours() }).unwrap();
    // The first of the new pool, which its gateway is not in, and not the third as before.
    assert_eq!(fresh.inner.to_string(), "10.9.0.1");
}

#[test]
fn a_reloaded_token_applies_to_new_sessions_only() {
    let server = server(settings());
    let old = server.head(&good_head()).unwrap();
    server
        .admission
        .set_token(Token::new(&b"the new token"[..]));
    assert_eq!(server.head(&good_head()).err().unwrap().status, 401);
    assert!(
        server
            .head(&head("POST", "/connect", Some(b"the new token")))
            .is_ok()
    );
    // Its head was checked before the reload: the keys come from the client's token.
    let granted = server.body(old, Some(&request().encode())).unwrap();
    let server_nonce = Nonce::from_text(&decode(&granted).server_nonce).unwrap();
    let keys =
        SessionKeys::derive(TOKEN, &Nonce::from_text(NONCE).unwrap(), &server_nonce).unwrap();
    assert_eq!(keys.client.key(), granted.keys.client.key());
}

#[test]
fn l9_neither_token_nor_keys_show_in_debug_output() {
    let server = server(settings());
    let shown = format!(
        "{:?} {:?}",
        server.admission,
        server.connect(&ours()).unwrap().keys
    );
    assert!(!shown.contains("a token of"), "{shown}");
    assert!(!shown.contains("key: ["), "{shown}");
}

#[test]
fn the_control_side_reads_a_sessions_owner_and_its_workers_counters() {
    let server = server(settings());
    let granted = server.connect(&request()).unwrap();
    let table = server.admission.sessions();
    let owner = table.read(granted.id, |entry| entry.owner);
    assert_eq!(owner, Some(granted.owner));
    let is_the_workers = |entry: &SessionEntry| Arc::ptr_eq(&entry.counters, &granted.counters);
    assert_eq!(table.read(granted.id, is_the_workers), Some(true));
    server.end(granted.id);
    assert_eq!(table.read(granted.id, is_the_workers), None);
}
