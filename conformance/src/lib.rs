//! What proves the suite from outside: a network lab made of namespaces, the
//! real binaries started in them, the Go peer, traffic and attackers.
//!
//! The library is synchronous and made for tests: what cannot be set up is a
//! panic that names what is missing, never a silent skip. Nothing here touches
//! the host's own network: every machine of a lab is an anonymous network
//! namespace that is gone with the test process, even when that is killed.

mod hostile;
mod lab;
pub mod parity;
pub mod probe;
mod traffic;

pub use hostile::{
    FloodResult, HandshakeFlood, Initials, JunkSender, connection_burst, forged, in_parallel,
    many_addresses, receive_queue_drained, resident_bytes, session_lines,
};
pub use lab::{
    Binaries, Client, Config, Lab, Machine, Metrics, Process, Server, Token, at_full_length,
    check_requirements, requirements, stay_silent, wait_for, wait_until,
};
pub use traffic::{
    Bulk, Capture, Captured, DnsResponder, PingReply, Pinger, RawIp, Reflector, Transfer, UdpEcho,
    dns_query, get, ping, ping_df, reflect, tcp_download, tcp_transfer, udp_echo_sizes,
};
