//! What the control side sees of running sessions, and does to them.

use qdt_transport::SessionTraffic;

use crate::support::{Client, GATEWAY, Server, packet, receive, until};

#[test]
fn a_sessions_counters_tell_what_it_carried_and_nothing_of_others() {
    let server = Server::start(2);
    let (a, b) = (Client::connect(&server), Client::connect(&server));
    for len in [100, 1312] {
        let up = packet(a.inner, GATEWAY, len);
        a.tun().send(&up).expect("send");
        until("the packet is counted", || {
            server.carried(a.inner).bytes_in >= len as u64
        });
    }
    let down = packet(GATEWAY, b.inner, 700);
    server.tuns[0].send(&down).expect("send");
    assert_eq!(receive(b.tun()), down);
    // What was opened is counted before it is written, what was sealed before it is sent.
    assert_eq!(
        server.carried(a.inner),
        SessionTraffic {
            packets_in: 2,
            bytes_in: 1412,
            ..SessionTraffic::default()
        }
    );
    assert_eq!(
        server.carried(b.inner),
        SessionTraffic {
            packets_out: 1,
            bytes_out: 700,
            ..SessionTraffic::default()
        }
    );
}
