//! The answers of the handshake, to the byte, and the metrics that count them.

use conformance::probe::{Answer, Exchange, Probe, Session, SessionOptions, request_body};
use conformance::{Config, Lab, Metrics, Server, Token, wait_for, wait_until};

use crate::{SECOND, SERVER, session, unlimited};

const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Sends a request with these parts and returns the answer.
#[track_caller]
fn ask(lab: &Lab, method: &str, path: &str, token: Option<&[u8]>, body: &[u8]) -> Answer {
    let probe = Probe::connect(&lab.clients[0], SERVER);
    ask_on(&probe, method, path, token, body)
}

#[track_caller]
fn ask_on(probe: &Probe, method: &str, path: &str, token: Option<&[u8]>, body: &[u8]) -> Answer {
    let mut exchange = Exchange::open(probe);
    let mut headers: Vec<(&str, &[u8])> = vec![
        (":method", method.as_bytes()),
        (":scheme", b"https"),
        (":authority", b"qdt.test"),
        (":path", path.as_bytes()),
    ];
    headers.extend(token.map(|token| ("x-qdt-token", token)));
    exchange.write_headers(&headers);
    exchange.write_data(body);
    exchange
        .answer(10 * SECOND)
        .expect("the server answers a request")
}

#[track_caller]
fn assert_refusal(answer: &Answer, status: u16, text: &str) {
    assert_eq!(
        (answer.status, answer.text()),
        (status, format!("{text}\n"))
    );
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        answer.header("content-length"),
        Some((text.len() + 1).to_string().as_str())
    );
    assert!(answer.header("date").is_some());
}

fn wait_for_handshake(server: &Server<'_>, result: &str) -> Metrics {
    wait_for(
        &format!("a handshake counted as {result}"),
        2 * SECOND,
        || Some(server.metrics()).filter(|metrics| metrics.handshakes(result) >= 1.0),
    )
}

#[test]
fn every_refusal_has_its_body_and_its_label() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    let token = Some(Token::TEXT.as_bytes());
    let good = request_body(NONCE, 1242);
    let short = request_body("AAAA", 1242);
    // Method, path, token, body; status, text, label.
    type Case<'a> = (
        &'a str,
        &'a str,
        Option<&'a [u8]>,
        &'a [u8],
        u16,
        &'a str,
        Option<&'a str>,
    );
    let cases: &[Case<'_>] = &[
        ("POST", "/", token, &good, 404, "404 page not found", None),
        (
            "POST",
            "/connect/",
            token,
            &good,
            404,
            "404 page not found",
            None,
        ),
        (
            "GET",
            "/connect",
            None,
            b"",
            405,
            "method not allowed",
            Some("method"),
        ),
        (
            "POST",
            "/connect",
            None,
            &good,
            401,
            "unauthorized",
            Some("unauthorized"),
        ),
        (
            "POST",
            "/connect",
            Some(b""),
            &good,
            401,
            "unauthorized",
            Some("unauthorized"),
        ),
        (
            "POST",
            "/connect",
            Some(b"wrong"),
            &good,
            401,
            "unauthorized",
            Some("unauthorized"),
        ),
        (
            "POST",
            "/connect",
            token,
            b"{\"version\":2}",
            400,
            "bad request",
            Some("bad_request"),
        ),
        (
            "POST",
            "/connect",
            token,
            b"[]",
            400,
            "bad request",
            Some("bad_request"),
        ),
        (
            "POST",
            "/connect",
            token,
            &request_body("=", 1242),
            400,
            "bad nonce",
            Some("bad_nonce"),
        ),
        (
            "POST",
            "/connect",
            token,
            &short,
            500,
            "key derivation error",
            Some("key_derivation_error"),
        ),
    ];
    for (method, path, token, body, status, text, label) in cases {
        let answer = ask(&lab, method, path, *token, body);
        assert_refusal(&answer, *status, text);
        if let Some(label) = label {
            wait_for_handshake(&server, label);
        }
    }
    assert_eq!(server.metrics().handshakes("unauthorized"), 3.0);
    assert_eq!(server.metrics().sessions(), 0.0);
}

#[test]
fn a_success_carries_status_date_and_one_json_object_on_a_stream_that_stays_open() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server().set("dns", "[9.9.9.9]"));
    let token = Some(Token::TEXT.as_bytes());
    let answer = ask(
        &lab,
        "POST",
        "/connect?x=1",
        token,
        &request_body(NONCE, 1300),
    );
    assert_eq!(answer.status, 200);
    let names: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["date"]);
    assert!(!answer.finished);
    let text = answer.text();
    assert!(
        text.starts_with(r#"{"version":1,"session_id":"#) && text.ends_with("}\n"),
        "{text}"
    );
    assert!(
        text.contains(r#""gateway_ip":"10.8.0.1","cidr":"10.8.0.0/24","dns":["9.9.9.9"]"#),
        "{text}"
    );
    assert!(
        text.contains(r#""mtu":1242,"#),
        "a peer without our extensions gets 1242: {text}"
    );
    assert_eq!(server.metrics().handshakes("ok"), 1.0);
}

#[test]
fn a_content_length_of_zero_with_a_body_is_taken_as_the_go_client_sends_it() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    let probe = Probe::connect(&lab.clients[0], SERVER);
    let mut exchange = Exchange::open(&probe);
    exchange.write_headers(&[
        (":authority", b"192.0.2.2"),
        (":method", b"POST"),
        (":path", b"/connect"),
        (":scheme", b"https"),
        ("x-qdt-token", Token::TEXT.as_bytes()),
        ("content-length", b"0"),
        ("user-agent", b"quic-go HTTP/3"),
    ]);
    exchange.write_data(&request_body(NONCE, 1350));
    assert_eq!(
        exchange.answer(5 * SECOND).map(|answer| answer.status),
        Some(200)
    );
}

#[test]
fn a_pool_without_a_free_address_answers_pool_exhausted() {
    let lab = Lab::new(1);
    // Six hosts, one of them the gateway.
    let config = Config::server()
        .set("pool_cidr", "10.8.0.0/29")
        .set("session_timeout", "1s");
    let server = Server::start(&lab.server, config);
    let mut sessions: Vec<_> = (0..5).map(|_| session(&lab, 0)).collect();
    let mut inner: Vec<_> = sessions.iter().map(Session::inner).collect();
    inner.sort();
    inner.dedup();
    assert_eq!(inner.len(), 5, "addresses are unique");
    let refused = Session::open(&lab.clients[0], SERVER, &SessionOptions::default());
    assert_refusal(
        &refused.expect_err("there is no sixth"),
        503,
        "address pool exhausted",
    );
    wait_for_handshake(&server, "pool_exhausted");

    // H9: an address that is free again is leased again.
    sessions.pop().expect("five sessions").probe.close();
    wait_until(
        "the address of a closed session is free after session_timeout",
        6 * SECOND,
        || Session::open(&lab.clients[0], SERVER, &SessionOptions::default()).is_ok(),
    );
}

#[test]
fn more_sessions_than_max_sessions_are_answered_server_busy() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server().set("max_sessions", "2"));
    let _kept = [session(&lab, 0), session(&lab, 0)];
    let refused = Session::open(&lab.clients[0], SERVER, &SessionOptions::default());
    assert_refusal(&refused.expect_err("there is no third"), 503, "server busy");
    wait_for_handshake(&server, "busy");
    assert_eq!(server.metrics().sessions(), 2.0);
}

#[test]
fn a_second_session_on_one_connection_is_answered_server_busy() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    let first = session(&lab, 0);
    let token = Some(Token::TEXT.as_bytes());
    let answer = ask_on(
        &first.probe,
        "POST",
        "/connect",
        token,
        &request_body(NONCE, 1242),
    );
    assert_refusal(&answer, 503, "server busy");
    wait_for_handshake(&server, "busy");
    assert_eq!(server.metrics().sessions(), 1.0);
}

#[test]
fn handshakes_above_the_rate_are_answered_rate_limited() {
    let lab = Lab::new(1);
    let config = Config::server().set("handshake_ip_rate", "{pps: 1, burst: 3, ttl: 1m}");
    let server = Server::start(&lab.server, config);
    let answers: Vec<_> = (0..6)
        .map(|_| Session::open(&lab.clients[0], SERVER, &SessionOptions::default()))
        .collect();
    let refused = answers
        .into_iter()
        .find_map(Result::err)
        .expect("one of six is above the rate");
    assert_refusal(&refused, 429, "rate limited");
    wait_for_handshake(&server, "rate_limited");
}

#[test]
fn a_body_that_breaks_the_rules_of_http3_costs_its_stream_and_not_the_connection() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    let probe = Probe::connect(&lab.clients[0], SERVER);
    let mut broken = Exchange::open(&probe);
    broken.write_connect_head(Token::TEXT.as_bytes(), None);
    broken.write_data(b"{");
    // Trailers of a megabyte (a HEADERS frame, and its length as a varint).
    broken.write(&[0x01, 0x80, 0x10, 0x00, 0x00]);
    assert_eq!(broken.answer(5 * SECOND), None, "an answer to nonsense");
    assert!(probe.is_open());
    let body = request_body(NONCE, 1242);
    let answer = ask_on(
        &probe,
        "POST",
        "/connect",
        Some(Token::TEXT.as_bytes()),
        &body,
    );
    assert_eq!(answer.status, 200);
    assert_eq!(server.metrics().sessions(), 1.0);
}

#[test]
fn a_cancelled_request_releases_its_slot_to_a_request_that_follows_at_once() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, unlimited());
    for round in 0..50 {
        let probe = Probe::connect(&lab.clients[0], SERVER);
        let mut given_up = Exchange::open(&probe);
        given_up.write_connect_head(Token::TEXT.as_bytes(), None);
        given_up.write_data(b"{");
        if round % 2 == 0 {
            // The server has started on it for certain: a second request in parallel is refused.
            let body = request_body(NONCE, 1242);
            let second = ask_on(
                &probe,
                "POST",
                "/connect",
                Some(Token::TEXT.as_bytes()),
                &body,
            );
            assert_refusal(&second, 503, "server busy");
        }
        given_up.give_up();
        let body = request_body(NONCE, 1242);
        let answer = ask_on(
            &probe,
            "POST",
            "/connect",
            Some(Token::TEXT.as_bytes()),
            &body,
        );
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
        probe.close();
    }
}

#[test]
fn a_stalled_server_answers_an_overdue_request_before_it_closes_the_connection() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    let token = Token::TEXT.as_bytes();
    let probe = Probe::connect(&lab.clients[0], SERVER);
    let mut overdue = Exchange::open(&probe);
    overdue.write_connect_head(token, None);
    let body = request_body(NONCE, 1242);
    // Its answer shows that the server has read the head before it.
    ask_on(&probe, "POST", "/", Some(token), &body);

    // Longer than a body may take (5 s) and than a connection may be without a session (6 s).
    server.signal(libc::SIGSTOP);
    let meanwhile = overdue.answer(13 * SECOND / 2);
    server.signal(libc::SIGCONT);
    assert_eq!(meanwhile, None);
    // A stopped process's timers stand still with it (ppoll(2) begins again with what was left): a
    // packet wakes it.
    ask_on(&probe, "POST", "/", Some(token), &body);

    let answer = overdue
        .answer(5 * SECOND)
        .expect("an answer, and not the end of the connection");
    assert_refusal(&answer, 400, "bad request");
    assert!(
        probe.closed(5 * SECOND).is_some(),
        "a connection without a session is closed all the same"
    );
}
