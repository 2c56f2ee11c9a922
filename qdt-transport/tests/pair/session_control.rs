//! Tests of the control side's view of running sessions, and of its commands to them.

use std::net::Ipv4Addr;

use qdt_transport::{ClientEvent, DropReason, SessionLimits, SessionTraffic};

use crate::support::{Client, GATEWAY, Server, packet, receive, until};

/// Returns the traffic of the session with this inner address.
fn carried(server: &Server, inner: Ipv4Addr) -> SessionTraffic {
    server.session(inner).1.read()
}

#[test]
fn the_counters_of_a_session_count_its_own_traffic_only() {
    let server = Server::start(2);
    let (a, b) = (Client::connect(&server), Client::connect(&server));
    for len in [100, 1312] {
        let up = packet(a.inner, GATEWAY, len);
        a.tun().send(&up).expect("send");
        until("the packet is counted", || {
            carried(&server, a.inner).bytes_in >= len as u64
        });
    }
    let down = packet(GATEWAY, b.inner, 700);
    server.tuns[0].send(&down).expect("send");
    assert_eq!(receive(b.tun()), down);
    until("the packet is counted", || {
        carried(&server, b.inner).packets_out == 1
    });
    assert_eq!(
        carried(&server, a.inner),
        SessionTraffic {
            packets_in: 2,
            bytes_in: 1412,
            ..SessionTraffic::default()
        }
    );
    assert_eq!(
        carried(&server, b.inner),
        SessionTraffic {
            packets_out: 1,
            bytes_out: 700,
            ..SessionTraffic::default()
        }
    );
}

#[test]
fn a_session_that_the_control_side_ends_closes_with_its_reason_and_others_stay() {
    let server = Server::start(3);
    let clients: Vec<_> = (0..6).map(|_| Client::connect(&server)).collect();
    let (ended, others) = clients.split_first().expect("clients");
    let (session, _) = server.session(ended.inner);
    server.workers().end(session, "ended by the operator");
    let ClientEvent::Closed { reason, .. } = ended.event() else {
        panic!("not closed");
    };
    assert!(reason.contains("ended by the operator"), "{reason}");
    let reported = server.ended.recv().expect("the policy gets a report");
    assert_eq!(reported, (session, "ended by the operator".into()));
    for other in others {
        let down = packet(GATEWAY, other.inner, 100);
        server.tuns[0].send(&down).expect("send");
        assert_eq!(receive(other.tun()), down);
    }
    assert!(server.ended.try_recv().is_err(), "another session ended");
}

#[test]
fn limits_that_the_control_side_sets_apply_to_that_session_only() {
    let server = Server::start(3);
    let clients: Vec<_> = (0..6).map(|_| Client::connect(&server)).collect();
    let (limited, others) = clients.split_first().expect("clients");
    let limits = SessionLimits { pps: 1, burst: 1 };
    let (session, counters) = server.session(limited.inner);
    server.workers().set_limits(session, limits);
    let down = packet(GATEWAY, limited.inner, 100);
    until("packets are over the limit", || {
        server.tuns[0].send(&down).expect("send");
        server.drops(DropReason::RateOut) > 0
    });
    for other in others {
        let before = carried(&server, other.inner).packets_out;
        for _ in 0..20 {
            let down = packet(GATEWAY, other.inner, 100);
            server.tuns[0].send(&down).expect("send");
            assert_eq!(receive(other.tun()), down);
        }
        until("the packets are counted", || {
            carried(&server, other.inner).packets_out == before + 20
        });
    }
    server.workers().set_limits(session, SessionLimits::OFF);
    let sent = counters.read().packets_out;
    until("packets pass again", || {
        server.tuns[0].send(&down).expect("send");
        counters.read().packets_out > sent + 20
    });
}
