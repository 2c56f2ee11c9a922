//! What the engine does when the socket refuses.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn_proto::EndpointConfig;

use super::*;
use crate::counters::Counters;
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
