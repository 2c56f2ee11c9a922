//! What the engine does when the socket refuses, and whom it serves first.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use quinn_proto::{ConnectionId, EndpointConfig};

use super::*;
use crate::client::dialling_config;
use crate::counters::Counters;
use crate::path::BASE_PACKET;
use crate::tls::{ClientTls, ClientTrust};
use crate::udp::bind_client;

/// An application without connections.
struct Nobody;

impl Application for Nobody {
    type Connection = ();

    fn incoming(
        &mut self,
        _: Instant,
        _: Incoming,
        _: usize,
        _: &mut Gate<'_>,
    ) -> Option<Accepted<()>> {
        None
    }
    fn event(&mut self, _: Instant, _: &mut Link<()>, _: Event) {}
    fn datagrams(&mut self, _: Instant, _: &mut Link<()>) {}
    fn deadline(&mut self, _: Instant, _: &mut Link<()>) {}
    fn lost(&mut self, _: &mut Link<()>) {}
    fn gone(&mut self, _: Box<Link<()>>) {}
    fn unsendable(&mut self, _: &mut Link<()>, _: &io::Error) {}
}

/// Flushes an engine whose socket was full when it had a datagram for `to`; the datagrams counted as sent.
fn sent_after_waiting(to: &str) -> u64 {
    let port = bind_client(None).expect("a socket");
    let destination = port.address_for(to.parse::<SocketAddr>().expect("an address"));
    let config = Arc::new(EndpointConfig::default());
    let mut engine = Engine::<Nobody>::new(Endpoint::new(config, None, false, None), port);
    engine.unsent = Some(Unsent {
        handle: ConnectionHandle(0),
        transmit: Transmit {
            destination,
            ecn: None,
            size: 100,
            segment_size: None,
            src_ip: None,
        },
        contents: vec![0; 100],
    });
    assert!(engine.is_blocked());
    let counters = WorkerCounters::default();
    engine.flush(&mut Nobody, Instant::now(), &counters);
    assert!(!engine.is_blocked(), "the worker goes on");
    let mut sum = Counters::default();
    counters.add_to(&mut sum);
    sum.udp_datagrams_out
}

#[test]
fn a_datagram_that_waited_for_room_counts_once_it_is_sent() {
    assert_eq!(sent_after_waiting("127.0.0.1:9"), 1);
}

#[test]
fn a_datagram_that_waited_for_room_and_is_refused_does_not_count_as_sent() {
    // A broadcast from a socket that did not ask for the permission is refused with EACCES (udp(7)).
    assert_eq!(sent_after_waiting("255.255.255.255:9"), 0);
}

/// An engine with `count` connections that have their first packet to send, all to `peer`. The packets of the n-th are
/// known by its destination connection id, in which every byte is n.
fn dialling(peer: &UdpSocket, count: u8) -> Engine<Nobody> {
    let port = bind_client(None).expect("a socket");
    let to = port.address_for(peer.local_addr().expect("a bound socket"));
    let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
    let tls = ClientTls::new(&ClientTrust::Anyone).expect("TLS settings");
    let mut config = dialling_config(&tls, BASE_PACKET);
    let next = AtomicU8::new(0);
    config.initial_dst_cid_provider(Arc::new(move || {
        ConnectionId::new(&[next.fetch_add(1, Ordering::Relaxed); 8])
    }));
    let now = Instant::now();
    let dialled: Vec<_> = (0..count)
        .map(|_| endpoint.connect(now, config.clone(), to, "qdt.test"))
        .map(|dialled| dialled.expect("a connection"))
        .collect();
    let mut engine = Engine::new(endpoint, port);
    for (handle, quic) in dialled {
        engine.insert(Accepted {
            handle,
            quic,
            app: (),
            wake_at: None,
        });
    }
    engine
}

/// Whose first packets arrive, in that order.
fn order_of_arrival(peer: &UdpSocket, count: u8) -> Vec<u8> {
    peer.set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a deadline");
    let mut packet = [0; 2048];
    let mut seen = Vec::new();
    while seen.len() < usize::from(count) {
        peer.recv(&mut packet).expect("a packet of each connection");
        // Long header (RFC 9000 section 17.2): flags, version, length of the id, the id.
        let number = packet[6];
        if seen.last() != Some(&number) {
            seen.push(number);
        }
    }
    seen
}

#[test]
fn connections_are_served_in_the_order_in_which_they_had_something_to_send() {
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut engine = dialling(&peer, 5);
    engine.flush(&mut Nobody, Instant::now(), &WorkerCounters::default());
    assert_eq!(order_of_arrival(&peer, 5), [0, 1, 2, 3, 4]);
}
