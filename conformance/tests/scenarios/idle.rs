//! A11: silence ends nothing, and a dead peer's address comes back.

use std::time::Duration;

use conformance::{Client, Config, Lab, Server, at_full_length, stay_silent, wait_until};

use crate::{SECOND, pair, pings, session};

#[test]
fn an_idle_tunnel_answers_its_first_ping() {
    // Signs of life come after 5, 10, 20 and then some 25 seconds: past the last by QUIC's idle
    // timeout of 30.
    assert_stays_usable(Config::server(), 95 * SECOND);
}

#[test]
fn an_idle_tunnel_of_a_server_with_a_short_session_timeout_answers_its_first_ping() {
    // QUIC's idle timeout is 15 seconds there, keep-alives come after 5 and then some 10.
    assert_stays_usable(Config::server().set("session_timeout", "2s"), 40 * SECOND);
}

/// A client of such a server is as it was after that much silence, or ten minutes of it.
#[track_caller]
fn assert_stays_usable(config: Config, shortened: Duration) {
    let lab = Lab::new(1);
    let silence = if at_full_length() {
        600 * SECOND
    } else {
        shortened
    };
    let server = Server::start(&lab.server, config);
    let client = Client::start(&lab.clients[0], Config::client());
    let address = client.inner_address();
    stay_silent(silence);
    assert!(pings(&client), "the first ping after {silence:?}");
    assert_eq!(client.inner_address(), address);
    // A client that had to begin with small packets moves to a connection with larger ones
    // meanwhile; that is not a doubt.
    for doubt in ["connection lost", "no answer from the server"] {
        assert!(!client.stdout().contains(doubt), "{}", client.stdout());
    }
    assert_eq!(server.metrics().sessions(), 1.0);
}

#[test]
fn the_address_of_a_dead_peer_is_free_again_after_session_timeout() {
    let lab = Lab::new(2);
    let config = Config::server()
        .set("pool_cidr", "10.8.0.0/30")
        .set("session_timeout", "2s");
    let server = Server::start(&lab.server, config);
    let mut dead = Client::start(&lab.clients[0], Config::client());
    let address = dead.inner_address();
    dead.kill();
    // QUIC finds out after its idle timeout of 30 s.
    wait_until("the session ends", 45 * SECOND, || {
        server.metrics().sessions() == 0.0
    });
    let freed = wait_until("the address is given out again", 7 * SECOND, || {
        conformance::probe::Session::open(
            &lab.clients[1],
            crate::SERVER,
            &conformance::probe::SessionOptions::default(),
        )
        .is_ok_and(|session| Some(session.inner()) == address)
    });
    assert!(freed <= 7 * SECOND);
}

#[test]
fn a_connection_that_closes_gives_its_address_back_after_session_timeout() {
    let lab = Lab::new(1);
    let config = Config::server()
        .set("pool_cidr", "10.8.0.0/30")
        .set("session_timeout", "1s");
    let _server = Server::start(&lab.server, config);
    let first = session(&lab, 0);
    let address = first.inner();
    first.probe.close();
    wait_until("the address is given out again", 6 * SECOND, || {
        conformance::probe::Session::open(
            &lab.clients[0],
            crate::SERVER,
            &conformance::probe::SessionOptions::default(),
        )
        .is_ok_and(|session| session.inner() == address)
    });
}

#[test]
fn an_idle_pair_sends_almost_nothing() {
    let lab = Lab::new(1);
    let (_server, _client) = pair(&lab);
    let capture = conformance::Capture::start(&lab.core, "mid", |captured| {
        captured.packet.get(9) == Some(&17)
    });
    stay_silent(Duration::from_secs(12));
    let packets = capture.packets().len();
    assert!(packets < 60, "{packets} outer packets in 12 silent seconds");
}
