//! Traffic through and outside the tunnel, with our own sockets in the machines' namespaces: it
//! needs no `ping`, `curl` or `iperf3`.

mod bulk;
mod capture;
mod dns;
mod http;
mod icmp;
mod raw;
mod reflect;
mod tcp;
mod udp;

pub use bulk::Bulk;
pub use capture::{Capture, Captured};
pub use dns::{DnsResponder, dns_query};
pub use http::get;
pub use icmp::{PingReply, Pinger, ping, ping_df};
pub use raw::RawIp;
pub use reflect::{Reflector, reflect};
pub use tcp::{Transfer, tcp_download, tcp_transfer};
pub use udp::{UdpEcho, udp_echo_sizes};
