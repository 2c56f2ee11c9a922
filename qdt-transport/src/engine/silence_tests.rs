//! Tests of the acknowledgement after a silence: two QUIC connections in memory, in simulated time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use quinn_proto::{Connection, DatagramEvent, EndpointConfig, ServerConfig};

use super::*;
use crate::dialling_config;
use crate::path::{IDLE, Limits, transport};
use crate::tls::{ClientTls, ClientTrust, ServerTls};

const SIZE: u16 = 1200;

struct Pair {
    now: Instant,
    client: (Endpoint, ConnectionHandle, Connection),
    server: (Endpoint, Option<Link<()>>),
}

impl Pair {
    /// Returns two ends of a connection that have nothing left to send.
    fn established() -> Self {
        let now = Instant::now();
        let tls = certificate();
        let limits = Limits {
            idle: IDLE,
            send: 1 << 20,
            receive: 1 << 20,
        };
        let mut config = ServerConfig::new(tls.quic(), tls.secrets().token_key());
        config.transport_config(transport(SIZE, limits, false));
        let of = |config| Endpoint::new(Arc::new(EndpointConfig::default()), config, true, None);
        let mut dialler = of(None);
        let trust = ClientTls::new(&ClientTrust::Anyone).expect("trust");
        let (handle, quic) = dialler
            .connect(
                now,
                dialling_config(&trust, SIZE),
                server_address(),
                "localhost",
            )
            .expect("dial");
        let mut pair = Self {
            now,
            client: (dialler, handle, quic),
            server: (of(Some(Arc::new(config))), None),
        };
        while pair.deliver_to_server() + pair.deliver_to_client() > 0 || pair.run_timers() {}
        assert!(!pair.client.2.is_handshaking());
        pair
    }

    /// Advances to the next timer of either end within a second. Returns false if there is none.
    fn run_timers(&mut self) -> bool {
        let soon = self.now + Duration::from_secs(1);
        let server = &mut self.server.1.as_mut().expect("accepted").quic;
        let client = &mut self.client.2;
        let next = client
            .poll_timeout()
            .into_iter()
            .chain(server.poll_timeout())
            .min();
        let Some(at) = next.filter(|at| *at < soon) else {
            return false;
        };
        self.now = at;
        client.handle_timeout(at);
        server.handle_timeout(at);
        true
    }

    /// Delivers the client's packets. Returns the number of datagrams.
    fn deliver_to_server(&mut self) -> usize {
        let mut sent = 0;
        let (endpoint, link) = &mut self.server;
        pass_events(&mut self.client.0, self.client.1, &mut self.client.2);
        while let Some(datagram) = take(&mut self.client.2, self.now) {
            sent += 1;
            let mut answer = Vec::new();
            let from = client_address();
            match endpoint.handle(self.now, from, None, None, datagram, &mut answer) {
                Some(DatagramEvent::NewConnection(incoming)) => {
                    let (handle, quic) = endpoint
                        .accept(incoming, self.now, &mut answer, None)
                        .unwrap_or_else(|error| panic!("{}", error.cause));
                    *link = Some(Link::new(
                        self.now,
                        Accepted {
                            handle,
                            quic,
                            app: (),
                            wake_at: None,
                        },
                    ));
                }
                Some(DatagramEvent::ConnectionEvent(_, event)) => {
                    link.as_mut().expect("accepted").quic.handle_event(event);
                }
                _ => {}
            }
        }
        sent
    }

    /// Delivers the server's packets. Returns the number of datagrams.
    fn deliver_to_client(&mut self) -> usize {
        let mut sent = 0;
        let (endpoint, link) = &mut self.server;
        let link = link.as_mut().expect("accepted");
        pass_events(endpoint, link.handle, &mut link.quic);
        while let Some(datagram) = take(&mut link.quic, self.now) {
            sent += 1;
            let (endpoint, _, quic) = &mut self.client;
            let from = server_address();
            if let Some(DatagramEvent::ConnectionEvent(_, event)) =
                endpoint.handle(self.now, from, None, None, datagram, &mut Vec::new())
            {
                quic.handle_event(event);
            }
        }
        sent
    }

    fn link(&mut self) -> &mut Link<()> {
        self.server.1.as_mut().expect("accepted")
    }
}

fn server_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 4433).into()
}

fn client_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 50_000).into()
}

fn certificate() -> ServerTls {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("certificate");
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, pair.cert.pem()).expect("write");
    std::fs::write(&key, pair.signing_key.serialize_pem()).expect("write");
    ServerTls::load(&certificate, &key).expect("load")
}

fn pass_events(endpoint: &mut Endpoint, handle: ConnectionHandle, quic: &mut Connection) {
    while let Some(event) = quic.poll_endpoint_events() {
        if let Some(reply) = endpoint.handle_event(handle, event) {
            quic.handle_event(reply);
        }
    }
    while quic.poll().is_some() {}
}

fn take(quic: &mut Connection, now: Instant) -> Option<BytesMut> {
    let mut contents = Vec::new();
    quic.poll_transmit(now, 1, &mut contents)
        .map(|transmit| BytesMut::from(&contents[..transmit.size]))
}

#[test]
fn the_first_packet_after_a_silence_can_be_acknowledged_at_once_without_another_wake_up() {
    let mut pair = Pair::established();
    pair.now += Duration::from_secs(20);
    let acknowledged = pair.client.2.stats().frame_rx.acks;
    pair.client.2.ping();
    assert_eq!(pair.deliver_to_server(), 1);
    assert_eq!(
        pair.deliver_to_client(),
        0,
        "QUIC lets the acknowledgement wait"
    );
    let now = pair.now;
    assert!(pair.link().acknowledge_at_once(now));
    assert_eq!(pair.deliver_to_client(), 1);
    assert_eq!(pair.client.2.stats().frame_rx.acks, acknowledged + 1);
    assert!(
        !pair.link().acknowledge_at_once(now),
        "nothing waits any more"
    );
    let next = pair.link().quic.poll_timeout().expect("the idle timeout");
    assert_eq!(next, now + IDLE, "nothing else is due");
}

#[test]
fn other_frames_carry_the_acknowledgement() {
    let mut pair = Pair::established();
    pair.now += Duration::from_secs(20);
    pair.client.2.ping();
    assert_eq!(pair.deliver_to_server(), 1);
    pair.link()
        .quic
        .datagrams()
        .send(bytes::Bytes::from_static(b"an answer"), false)
        .expect("room");
    let acknowledged = pair.client.2.stats().frame_rx.acks;
    assert_eq!(pair.deliver_to_client(), 1);
    assert_eq!(pair.client.2.stats().frame_rx.acks, acknowledged + 1);
    let now = pair.now;
    assert!(
        !pair.link().acknowledge_at_once(now),
        "the timer of a lost packet is later and stays untouched"
    );
}
