//! The scenarios of the lab: real programs on real TUN devices in namespaces,
//! one topic per file. All of it needs root and says so where it has none.

mod admission;
mod attackers;
mod clients;
mod go_client;
mod go_server;
mod handshake_flood;
mod hostile;
mod idle;
mod ipv6;
mod latency;
mod leftovers;
mod long_tokens;
mod loss;
mod names;
mod nat;
mod offloads;
mod ordering;
mod overlaps;
mod path_mtu;
mod repair;
mod restart;
mod routes;
mod second_start;
mod secrets;
mod spoofing;
mod stalled;
mod stop;
mod traffic;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use conformance::probe::{Session, SessionOptions, echo_request};
use conformance::{Client, Config, Lab, Server, ping};

/// The unit of deadlines.
const SECOND: Duration = Duration::from_secs(1);

/// Where the server is reached from outside.
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Lab::SERVER), 443);

/// Memory is asserted in these.
const MIB: u64 = 1 << 20;

/// A server that counts no handshakes.
fn unlimited() -> Config {
    Config::server()
        .set("handshake_rate", "{pps: -1}")
        .set("handshake_ip_rate", "{pps: -1}")
}

/// Our server and our client on client 0, both with the lab's configuration.
#[track_caller]
fn pair(lab: &Lab) -> (Server<'_>, Client<'_>) {
    let server = Server::start(&lab.server, Config::server());
    let client = Client::start(&lab.clients[0], Config::client());
    (server, client)
}

/// A probe's session from client `n`.
#[track_caller]
fn session(lab: &Lab, n: usize) -> Session {
    match Session::open(&lab.clients[n], SERVER, &SessionOptions::default()) {
        Ok(session) => session,
        Err(answer) => panic!("the server refused a good request: {answer:?}"),
    }
}

/// Whether the gateway answers an echo request of this session.
fn answers(session: &mut Session, within: Duration) -> bool {
    let request = echo_request(session.inner(), Lab::GATEWAY, 1, 56);
    session.send_packet(&request);
    session
        .receive_packet(within, |packet| packet[9] == 1 && packet[20] == 0)
        .is_some()
}

/// Whether the gateway answers a ping of the machine within a second.
fn pings(client: &Client<'_>) -> bool {
    ping(client.machine(), Lab::GATEWAY.into(), 56, SECOND).is_some()
}

/// Source address of an IPv4 packet.
fn source(packet: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    Some(octets.into())
}
