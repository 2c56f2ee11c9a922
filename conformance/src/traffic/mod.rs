//! Traffic through and beside the tunnel, with our own sockets in the
//! machines' namespaces: no `ping`, `curl` or `iperf3` is needed.

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
