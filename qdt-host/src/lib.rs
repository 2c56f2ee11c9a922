//! Host integration of a tunnel: TUN device, addresses, routes, firewall, DNS.
//!
//! One small trait per concern ([`TunOpener`], [`Links`], [`Network`], [`Routes`], [`Firewall`],
//! [`Dns`], [`Conntrack`], [`Watch`]), and [`Host`], which bundles them for the programs.
//! [`LinuxHost`] implements them for the machine, [`memory::MemoryHost`] for tests.
//!
//! Invariants:
//!
//! * Everything this crate installs carries our mark (table name, rule protocol, comment,
//!   backup file). Removal finds it by that mark alone, also after a killed run, removes nothing
//!   else, and may be repeated.
//! * State that belongs to others never changes: neither the host's default route nor another
//!   nftables table nor a rule without our mark.
//! * No text that a peer sent reaches a command line or a rule; it is parsed into an address first.
//!
//! TUN queues are synchronous, as packet workers are. Everything else belongs to the control side
//! and is `async` on tokio.

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
