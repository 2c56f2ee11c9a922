//! Linux: TUN by ioctl, addresses and routes by rtnetlink, NAT by nftables, conntrack by ctnetlink.

mod address_guard;
mod addresses;
mod connected;
pub(crate) mod conntrack;
mod default_route;
mod dns;
mod firewall;
mod inbound;
mod leftover_tables;
mod links;
mod near;
mod netlink;
mod nft;
mod nft_table;
mod overlaps;
mod owner;
mod program;
mod reverse_path;
mod route_state;
mod routes;
mod rtnl;
mod sockets;
pub(crate) mod sysctl;
mod tun;
mod tun_driver;
mod wanted;
mod watch;

pub use connected::{ConnectedNetwork, connected_networks};
pub use default_route::{default_route_interface, default_route_source};
pub use dns::{DnsPaths, HostDns};
pub use firewall::{HostFirewall, InstalledRules};
pub use links::HostLinks;
pub use owner::TunnelOwner;
pub use routes::HostRoutes;
pub use tun::HostTuns;
pub use watch::HostWatch;
