//! Tests against the real kernel, each in network namespaces of its own.
//!
//! They need root (CAP_SYS_ADMIN and CAP_NET_ADMIN) and the programs `ip`, `nft`, `iptables` and
//! `conntrack`; without them they fail with a line that says so. Nothing of the host's own network
//! is touched.

mod address_guard;
mod client;
mod closed;
mod connected;
mod conntrack;
mod default_route;
mod dns;
mod firewall;
mod inbound;
mod links;
mod namespace;
mod overlaps;
mod owner;
mod repair;
mod router;
mod routes;
mod sysctl;
mod tun;
mod watch;
