//! Tests of full sockets, the order of service and the handover between workers.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use quinn_proto::{ConnectionId, EndpointConfig};

use super::*;
use crate::client::dialling_config;
use crate::counters::Counters;
use crate::path::BASE_PACKET;
use crate::tls::{ClientTls, ClientTrust};
use crate::udp::{SteeredConnectionIds, bind_client};
use crate::wake::{Sources, Waker};

/// An application without connections.
struct NoConnections;

impl Application for NoConnections {
    type Connection = ();

    fn event(&mut self, _: Instant, _: &mut Link<()>, _: Event) {}
    fn datagrams(&mut self, _: Instant, _: &mut Link<()>) {}
    fn deadline(&mut self, _: Instant, _: &mut Link<()>) {}
    fn closed(&mut self, _: Instant, _: &mut Link<()>) {}
    fn drained(&mut self, _: Box<Link<()>>) {}
}

/// Flushes an engine whose socket was full when it had a datagram for `to`. Returns the datagrams
/// counted as sent.
fn sent_after_waiting(to: &str) -> u64 {
    let port = bind_client(None).expect("a socket");
    let destination = port.address_for(to.parse::<SocketAddr>().expect("an address"));
    let config = Arc::new(EndpointConfig::default());
    let counters = Arc::<WorkerCounters>::default();
    let mut engine = Engine::<NoConnections>::new(
        Instant::now(),
        Endpoint::new(config, None, false, None),
        port,
        Steering::ALONE,
        counters.clone(),
    );
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
    engine.flush(&mut NoConnections, Instant::now());
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
    // A broadcast without SO_BROADCAST is refused with EACCES (udp(7)).
    assert_eq!(sent_after_waiting("255.255.255.255:9"), 0);
}

#[test]
fn after_a_partial_send_only_the_rest_of_a_batch_is_sent() {
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut engine = dialling(&peer, 0);
    let destination = peer.local_addr().expect("bound");
    let mut unsent = Unsent {
        handle: ConnectionHandle(0),
        transmit: Transmit {
            destination: engine.port.address_for(destination),
            ecn: None,
            size: 2_500,
            segment_size: Some(1_000),
            src_ip: None,
        },
        contents: (0..2_500).map(|at: u32| (at / 1_000) as u8).collect(),
    };
    unsent.has_sent(1_000);
    engine.unsent = Some(unsent);
    engine.flush(&mut NoConnections, Instant::now());
    peer.set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a deadline");
    let mut datagram = [9; 2_000];
    for (number, len) in [(1, 1_000), (2, 500)] {
        assert_eq!(peer.recv(&mut datagram).expect("a datagram"), len);
        assert!(datagram[..len].iter().all(|byte| *byte == number));
    }
}

/// Returns an engine with `count` connections to `peer` that have their first packet to send. Every
/// byte of the n-th one's destination connection id is n.
fn dialling(peer: &UdpSocket, count: u8) -> Engine<NoConnections> {
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
    let mut engine = Engine::new(now, endpoint, port, Steering::ALONE, Arc::default());
    for (handle, quic) in dialled {
        let accepted = Accepted {
            handle,
            quic,
            app: (),
            wake_at: None,
        };
        engine.insert(now, accepted);
    }
    engine
}

/// Returns the connections' numbers in the order in which their first packets arrive.
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
fn connections_are_served_in_the_order_in_which_they_were_touched() {
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut engine = dialling(&peer, 5);
    engine.flush(&mut NoConnections, Instant::now());
    assert_eq!(order_of_arrival(&peer, 5), [0, 1, 2, 3, 4]);
}

/// Sends `batch` to `to` in one call as datagrams of `segment` bytes (UDP_SEGMENT, udp(7)). On
/// loopback nothing splits it, and a socket with UDP_GRO gets it like datagrams that the kernel
/// merged.
fn send_batch(sender: &UdpSocket, to: SocketAddr, batch: &[u8], segment: u16) {
    let segment = libc::c_int::from(segment);
    // SAFETY: the descriptor is open for the call, and the option's value is a `c_int` of the given
    // length.
    let result = unsafe {
        libc::setsockopt(
            sender.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const segment).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    sender.send_to(batch, to).expect("sent");
}

#[test]
fn of_a_merged_batch_a_worker_answers_its_own_datagrams_and_hands_the_others_over() {
    const LEN: usize = 100;
    let mut config = EndpointConfig::default();
    config
        .cid_generator(|| Box::new(SteeredConnectionIds::new(0, 3)))
        .min_reset_interval(Duration::ZERO);
    let port = bind_client(None).expect("a socket");
    let at = (std::net::Ipv4Addr::LOCALHOST, port.local_addr().port()).into();
    let endpoint = Endpoint::new(Arc::new(config), None, false, None);
    let mut engine = Engine::<NoConnections>::new(
        Instant::now(),
        endpoint,
        port,
        Steering::new(0, 3),
        Arc::default(),
    );
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    // Short headers with unknown connection ids, which their own worker answers with a stateless
    // reset.
    let ids = [0, 1, 2, 3, 4, 7, 9];
    let batch: Vec<u8> = ids
        .iter()
        .flat_map(|id| {
            let mut datagram = [*id; LEN];
            datagram[0] = 0x40;
            datagram
        })
        .collect();
    send_batch(&sender, at, &batch, LEN as u16);
    let counters = engine.counters.clone();
    let waker = Waker::new().expect("eventfd");
    let deadline = Instant::now() + Duration::from_secs(10);
    let received = || {
        let mut sum = Counters::default();
        counters.add_to(&mut sum);
        sum.udp_datagrams_in
    };
    while received() < ids.len() as u64 {
        let sources = Sources {
            udp: engine.source(),
            udp_is_full: false,
            waker: waker.source(),
            tun: None,
            reads_tun: false,
        };
        sources.wait(false, Some(deadline)).expect("poll");
        assert!(Instant::now() < deadline, "the batch arrives");
        engine.receive(&mut NoConnections, Instant::now());
    }
    let mut handed_over = Vec::new();
    engine.hand_over(|worker, handover| {
        handover.for_each(|arrival, datagram| {
            assert_eq!(
                arrival.from.port(),
                sender.local_addr().expect("bound").port()
            );
            handed_over.push((worker, datagram[1]));
            assert_eq!(datagram.len(), LEN);
        });
    });
    assert_eq!(handed_over, [(1, 1), (1, 4), (1, 7), (2, 2)]);
    engine.hand_over(|_, _| panic!("once"));
    let patience = Some(Duration::from_secs(10));
    sender.set_read_timeout(patience).expect("a deadline");
    for id in [0, 3, 9] {
        assert!(sender.recv(&mut [0; LEN]).is_ok(), "an answer to {id}");
    }
    // Loopback keeps the order, and no further answer follows.
    sender.set_nonblocking(true).expect("no waiting");
    assert!(sender.recv(&mut [0; LEN]).is_err(), "three answers");
}
