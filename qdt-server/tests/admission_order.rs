//! Which answer a request gets, also one with several faults: the documented table, row by row.
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
use qdt_server::admission::{AdmissionSettings, Doorkeeper, Outcome, Reservation, SessionEntry};
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

/// A doorkeeper, and the moment at which everything in a test happens.
struct Door {
    keeper: Doorkeeper,
    now: Instant,
}

fn door(settings: AdmissionSettings) -> Door {
    let now = Instant::now();
    let network: IpNet = settings.cidr.parse().unwrap();
    let pool = AddressPool::new(network, GATEWAY.into()).unwrap();
    let tickets = TicketSealer::new(&[1; 32], None);
    let keeper = Doorkeeper::new(
        settings,
        pool,
        Token::new(TOKEN),
        tickets,
        now,
        SystemTime::now,
    );
    keeper.set_ready(true);
    Door { keeper, now }
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

impl Door {
    fn context(&self) -> RequestContext {
        context(peer(), self.now)
    }

    fn head(&self, head: &RequestHead) -> Result<Reservation, Refusal> {
        self.keeper.head(head, &self.context(), false)
    }

    fn body(&self, permit: Reservation, body: Option<&[u8]>) -> Result<Grant, Refusal> {
        match self.keeper.body(permit, body, &self.context()) {
            Decision::Granted(grant) => Ok(*grant),
            Decision::Refused(refusal) => Err(refusal),
            Decision::Pending(_) => panic!("nobody else is to be asked"),
        }
    }

    fn connect(&self, request: &ConnectRequest) -> Result<Grant, Refusal> {
        let permit = self.head(&good_head())?;
        self.body(permit, Some(&request.encode()))
    }

    fn end(&self, session: SessionId) {
        self.keeper
            .session_ended(session, "the test is done with it", self.now);
    }

    /// What has been counted, without the zeros.
    fn counted(&self) -> Vec<(&'static str, u64)> {
        self.keeper
            .counters()
            .snapshot()
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

fn answer(admitted: &Grant) -> ConnectResponse {
    ConnectResponse::decode(&admitted.response).unwrap()
}

fn refusal(result: Result<Grant, Refusal>) -> (u16, &'static str) {
    let refusal = result.expect_err("admitted");
    (refusal.status, refusal.body)
}

#[test]
fn the_answers_are_the_documented_ones() {
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
    let door = door(AdmissionSettings {
        handshakes: Some(Rate { pps: 1, burst: 1 }),
        max_sessions: Some(0),
        ..settings()
    });
    door.keeper.set_ready(false);
    let of = |head: &RequestHead| door.head(head).err().map(|r| (r.status, r.body));
    assert_eq!(of(&head("GET", "/connect", None)), Some((503, "not ready")));
    door.keeper.set_ready(true);
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
    // The one permission is for this request; it stands, because its ticket might need no new
    // place.
    let standing = door.head(&good_head()).unwrap();
    assert_eq!(of(&good_head()), Some((429, "rate limited")));
    assert_eq!(
        refusal(door.body(standing, Some(b"no json"))),
        (503, "server busy")
    );
    assert_eq!(
        door.counted(),
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
fn a_body_is_judged_in_the_documented_order_too() {
    let door = door(AdmissionSettings {
        cidr: "10.8.0.0/30".into(),
        ..settings()
    });
    let body = |body: Option<&[u8]>| refusal(door.body(door.head(&good_head()).unwrap(), body));
    let nonce = |text: &str| {
        ConnectRequest {
            client_nonce: text.into(),
            ..request()
        }
        .encode()
    };
    let only = door.connect(&request()).unwrap();
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
    door.end(only.id);
    let later = door.now + Duration::from_secs(120);
    for address in door.keeper.expire_addresses(later) {
        door.keeper.release_address(address);
    }
    assert_eq!(body(Some(&nonce("AAAA"))), (500, "key derivation error"));
    assert_eq!(body(Some(&nonce(""))), (500, "key derivation error"));
    assert!(
        door.connect(&request()).is_ok(),
        "a refused request took the address"
    );
}

#[test]
fn the_first_value_of_the_token_header_counts() {
    let door = door(settings());
    let two = |first: &[u8], second: &[u8]| RequestHead {
        headers: vec![
            (b"x-qdt-token".to_vec(), first.to_vec()),
            (b"x-qdt-token".to_vec(), second.to_vec()),
        ],
        ..good_head()
    };
    assert!(door.head(&two(TOKEN, b"wrong")).is_ok());
    assert_eq!(door.head(&two(b"wrong", TOKEN)).err().unwrap().status, 401);
}

#[test]
fn u5_a_thousand_guesses_from_one_address_get_the_configured_number_of_answers() {
    let door = door(settings());
    let guess = || {
        door.head(&head("POST", "/connect", Some(b"guess")))
            .err()
            .unwrap()
            .status
    };
    let answers: Vec<_> = (0..1000).map(|_| guess()).collect();
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 40);
    assert!(answers[40..].iter().all(|status| *status == 429));
    // Not even the right token is told apart then, or the limit would be none.
    assert_eq!(door.head(&good_head()).err().unwrap().status, 429);
    let other = door.keeper.head(
        &good_head(),
        &context("192.0.2.2:1".parse().unwrap(), door.now),
        false,
    );
    assert!(other.is_ok(), "another address pays for it");
    let later = door.now + Duration::from_secs(1);
    assert!(
        door.keeper
            .head(&good_head(), &context(peer(), later), false)
            .is_ok()
    );
}

#[test]
fn u5_right_tokens_do_not_count_as_guesses() {
    let door = door(settings());
    for _ in 0..1000 {
        assert!(door.head(&good_head()).is_ok());
    }
}

#[test]
fn handshake_limits_hold_for_all_together_and_for_each_address() {
    let door = door(AdmissionSettings {
        handshakes: Some(Rate { pps: 1, burst: 10 }),
        handshakes_per_address: Some(Rate { pps: 1, burst: 4 }),
        ..settings()
    });
    let from = |address: &str| {
        let peer = format!("{address}:1").parse().unwrap();
        (0..100)
            .filter(|_| {
                door.keeper
                    .head(&good_head(), &context(peer, door.now), false)
                    .is_ok()
            })
            .count()
    };
    assert_eq!(from("192.0.2.1"), 4);
    // What the first address was refused has not used up the limit of all.
    assert_eq!(from("192.0.2.2"), 4);
    assert_eq!(from("192.0.2.3"), 2);
    assert_eq!(from("192.0.2.4"), 0);
}

#[test]
fn max_sessions_is_never_exceeded_however_many_ask_at_once() {
    let door = door(AdmissionSettings {
        max_sessions: Some(7),
        ..settings()
    });
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..5).filter(|_| door.connect(&request()).is_ok()).count()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!((admitted, door.keeper.sessions().len()), (7, 7));
    assert_eq!(refusal(door.connect(&request())), (503, "server busy"));
}

#[test]
fn a_dropped_permit_and_an_ended_session_give_their_place_back() {
    let door = door(AdmissionSettings {
        max_sessions: Some(1),
        ..settings()
    });
    drop(door.head(&good_head()).unwrap());
    let first = door.connect(&request()).unwrap();
    assert_eq!(refusal(door.connect(&request())), (503, "server busy"));
    door.end(first.id);
    assert!(door.connect(&request()).is_ok());
}

#[test]
fn thirty_two_sessions_on_one_connection_are_one() {
    let door = door(settings());
    assert!(door.connect(&request()).is_ok());
    for _ in 1..32 {
        let second = door.keeper.head(&good_head(), &door.context(), true);
        assert_eq!(
            second.err().unwrap(),
            Refusal {
                status: 503,
                body: "server busy"
            }
        );
    }
    assert_eq!(door.counted(), [("busy", 31), ("ok", 1)]);
}

#[test]
fn a_go_peer_gets_exactly_the_go_servers_fields_and_an_mtu_it_survives() {
    let door = door(AdmissionSettings {
        dns: vec!["1.1.1.1".into()],
        ..settings()
    });
    let go = ConnectRequest {
        caps: vec!["fragment".into(), "aead".into()],
        ..request()
    };
    let admitted = door.connect(&go).unwrap();
    let response = answer(&admitted);
    let expected = format!(
        "{{\"version\":1,\"session_id\":{},\"server_nonce\":\"{}\",\"mtu\":1242,\
         \"client_ip\":\"10.8.0.2\",\"gateway_ip\":\"10.8.0.1\",\"cidr\":\"10.8.0.0/24\",\
         \"dns\":[\"1.1.1.1\"]}}\n",
        admitted.id.0, response.server_nonce
    );
    assert_eq!(
        String::from_utf8(admitted.response.clone()).unwrap(),
        expected
    );
    assert_eq!(
        (admitted.mtu, admitted.aead),
        (1242, Aead::ChaCha20Poly1305)
    );
}

#[test]
fn both_ends_derive_the_same_keys_from_what_the_response_says() {
    let door = door(settings());
    let admitted = door.connect(&request()).unwrap();
    let server_nonce = Nonce::from_text(&answer(&admitted).server_nonce).unwrap();
    let client_nonce = Nonce::from_text(NONCE).unwrap();
    let keys = SessionKeys::derive(TOKEN, &client_nonce, &server_nonce).unwrap();
    assert_eq!(keys.client.key(), admitted.keys.client.key());
    assert_eq!(keys.server.key(), admitted.keys.server.key());
}

#[test]
fn a_client_of_ours_gets_what_both_can_do() {
    let door = door(settings());
    let admitted = door.connect(&ours()).unwrap();
    let response = answer(&admitted);
    assert_eq!((admitted.mtu, admitted.aead), (1350, Aead::Aes256Gcm));
    assert_eq!(response.caps.unwrap(), ["aes-256-gcm", "ping", "close"]);
    assert!(response.resume.is_some());
    let some = ConnectRequest {
        caps: vec!["ping".into(), "later".into()],
        ..ours()
    };
    let admitted = door.connect(&some).unwrap();
    assert_eq!(answer(&admitted).caps.unwrap(), ["ping"]);
    assert_eq!(admitted.aead, Aead::ChaCha20Poly1305);
}

#[test]
fn h8_a_tiny_mtu_is_raised_to_the_floor_and_a_huge_one_cut() {
    let door = door(settings());
    for asked in (0..=60).chain([i64::MAX, 576, 575]) {
        let mtu = door
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
    assert_eq!(door.connect(&tiny).unwrap().mtu, 576);
}

#[test]
fn a_ticket_moves_the_address_from_the_old_session_to_the_new_one() {
    let door = door(AdmissionSettings {
        max_sessions: Some(1),
        ..settings()
    });
    let first = door.connect(&ours()).unwrap();
    let resume = answer(&first).resume;
    // The server is full, but this needs no place of its own.
    let second = door.connect(&ConnectRequest { resume, ..ours() }).unwrap();
    assert_eq!(second.inner, first.inner);
    assert_eq!(second.replaces, Some((3, first.id)));
    assert_ne!(second.id, first.id);
    door.end(first.id);
    assert_eq!(door.keeper.sessions().len(), 1);
    assert_eq!(door.keeper.parked_addresses(), 0);
    assert_eq!(refusal(door.connect(&ours())), (503, "server busy"));
}

#[test]
fn a_request_that_fails_after_its_ticket_ends_nobodys_session() {
    let door = door(settings());
    let first = door.connect(&ours()).unwrap();
    let resume = answer(&first).resume;
    let bad = ConnectRequest {
        resume: resume.clone(),
        client_nonce: "AAAA".into(),
        ..ours()
    };
    assert_eq!(refusal(door.connect(&bad)), (500, "key derivation error"));
    let again = door.connect(&ConnectRequest { resume, ..ours() }).unwrap();
    assert_eq!(again.replaces, Some((3, first.id)));
}

#[test]
fn a_restarted_server_gives_the_bearer_its_address_back() {
    let before = door(settings());
    before.connect(&ours()).unwrap();
    let mine = before.connect(&ours()).unwrap();
    let resume = answer(&mine).resume;
    let after = door(settings());
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
    let before = door(settings());
    before.connect(&ours()).unwrap();
    let resume = answer(&before.connect(&ours()).unwrap()).resume;
    let cidr = "10.9.0.0/24".into();
    let after = door(AdmissionSettings { cidr, ..settings() });
    let fresh = after.connect(&ConnectRequest { resume, ..ours() }).unwrap();
    // The first of the new pool, which its gateway is not in, and not the third as before.
    assert_eq!(fresh.inner.to_string(), "10.9.0.1");
}

#[test]
fn a_reloaded_token_decides_over_new_sessions_only() {
    let door = door(settings());
    let old = door.head(&good_head()).unwrap();
    door.keeper.set_token(Token::new(&b"the new token"[..]));
    assert_eq!(door.head(&good_head()).err().unwrap().status, 401);
    assert!(
        door.head(&head("POST", "/connect", Some(b"the new token")))
            .is_ok()
    );
    // Judged by its head already: the keys come from the token that the client used.
    let admitted = door.body(old, Some(&request().encode())).unwrap();
    let server_nonce = Nonce::from_text(&answer(&admitted).server_nonce).unwrap();
    let keys =
        SessionKeys::derive(TOKEN, &Nonce::from_text(NONCE).unwrap(), &server_nonce).unwrap();
    assert_eq!(keys.client.key(), admitted.keys.client.key());
}

#[test]
fn l9_neither_token_nor_keys_show_in_debug_output() {
    let door = door(settings());
    let shown = format!(
        "{:?} {:?}",
        door.keeper,
        door.connect(&ours()).unwrap().keys
    );
    assert!(!shown.contains("a token of"), "{shown}");
    assert!(!shown.contains("key: ["), "{shown}");
}

#[test]
fn the_control_side_reads_a_sessions_owner_and_the_counters_that_its_worker_has() {
    let door = door(settings());
    let granted = door.connect(&request()).unwrap();
    let table = door.keeper.sessions();
    let owner = table.read(granted.id, |entry| entry.owner);
    assert_eq!(owner, Some(granted.owner));
    let is_the_workers = |entry: &SessionEntry| Arc::ptr_eq(&entry.counters, &granted.counters);
    assert_eq!(table.read(granted.id, is_the_workers), Some(true));
    door.end(granted.id);
    assert_eq!(table.read(granted.id, is_the_workers), None);
}
