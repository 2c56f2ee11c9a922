//! What the operating system gives a tunnel: TUN device, addresses, routes, firewall, DNS.
//!
//! One small trait per thing ([`TunOpener`], [`Links`], [`Network`], [`Routes`], [`Firewall`],
//! [`Dns`], [`Conntrack`], [`Watch`]), and one for all of them together, [`Host`], which programs
//! take. [`LinuxHost`] is the machine itself; [`memory::MemoryHost`] is one for tests of those who
//! use the traits. What always holds:
//!
//! * Everything that is installed can be recognised later as ours, is removed exactly, and removing
//!   it twice is the same as removing it once. What a killed run left behind is found again by its
//!   mark (table name, rule protocol, comment, backup file) and not by anything kept in memory.
//! * What belongs to others is never changed: not the host's default route, not another nftables
//!   table, not a rule without our mark.
//! * Nothing a peer sent reaches a command line or a rule as text; it is parsed into an address
//!   first.
//!
//! The TUN queue is synchronous, because packet workers are; everything else is control side and
//! `async` on tokio.

mod conntrack;
mod dns;
mod firewall;
mod host;
mod interface;
mod links;
pub mod memory;
mod network;
mod outside;
mod owner;
mod resolvers;
mod routes;
mod sysctl;
pub mod tun;
mod watch;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod no_tun;

pub use conntrack::{Conntrack, ConntrackError};
pub use dns::{Dns, DnsError, DnsPlan, DnsRepair};
pub use firewall::{
    ClosedChain, Firewall, FirewallError, FirewallWarning, InstalledRules, NatPlan,
};
pub use host::Host;
pub use interface::{InterfaceNameError, check_interface_name};
pub use links::{LinkError, LinkStatus, Links};
#[cfg(target_os = "linux")]
pub use linux::{
    DnsPaths, HostConntrack, HostDns, HostFirewall, HostLinks, HostNetwork, HostRoutes, HostRules,
    HostTuns, HostWatch, LinuxHost, RouteIdentity, TunnelOwner,
};
pub use network::{ConnectedNetwork, Network};
pub use outside::Outside;
pub use owner::{OwnerError, OwnerWarning};
pub use resolvers::HostResolvers;
pub use routes::{Restored, RouteError, RouteMode, RoutePlan, RouteWarning, Routes};
pub use sysctl::SysctlError;
pub use tun::{Offload, Tun, TunError, TunOpener, TunQueue, TunSpec};
pub use watch::{Changes, Watch};
