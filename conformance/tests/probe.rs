//! The probe against the Go peer's server: what it seals opens there, what is
//! sealed there opens here, and refusals come through as they were sent.

use std::time::Duration;

use conformance::probe::{Session, SessionOptions, echo_request};
use conformance::{Config, Lab, Server};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_probe_pings_through_a_go_server() {
    let lab = Lab::new(1);
    let _server = Server::start_go(&lab.server, Config::server());
    let mut session = Session::open(
        &lab.clients[0],
        (Lab::SERVER, 443).into(),
        &SessionOptions::default(),
    )
    .expect("the server takes a good request");
    let inner = session.inner();
    session.send_packet(&echo_request(inner, Lab::GATEWAY, 7, 100));
    let reply = session.receive_packet(SECOND, |packet| packet[9] == 1 && packet[20] == 0);
    assert_eq!(reply.expect("an echo reply").len(), 128);
}

#[test]
fn the_probe_shows_a_refusal_as_it_came() {
    let lab = Lab::new(1);
    let _server = Server::start_go(&lab.server, Config::server());
    let options = SessionOptions {
        token: b"wrong".to_vec(),
        ..SessionOptions::default()
    };
    let answer = Session::open(&lab.clients[0], (Lab::SERVER, 443).into(), &options)
        .expect_err("a wrong token is refused");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (401, "unauthorized\n")
    );
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}
