//! What the host shall look like while the tunnel lives, as plain values.
//!
//! What always holds here: a plan follows from the configuration and a checked answer alone, so
//! two equal answers give two equal plans and the second changes nothing on the host.

use std::net::IpAddr;

use ipnet::IpNet;
use qdt_host::{DnsPlan, RoutePlan};

use crate::assignment::Assignment;
use crate::config::RouteMode;

/// The TUN device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunPlan {
    /// Inner address with the pool's prefix length.
    pub address: IpNet,
    /// MTU in bytes.
    pub mtu: u16,
}

/// The part of the configuration that decides about the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostWishes {
    /// `tun_name`.
    pub tun: String,
    /// `route_mode`.
    pub route_mode: RouteMode,
    /// `dns`: overrides what the server suggests.
    pub dns: Vec<IpAddr>,
}

/// Everything the host is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlan {
    /// The TUN device.
    pub tun: TunPlan,
    /// The routes.
    pub routes: RoutePlan,
    /// The resolvers, where they are ours to set: in mode `default`, and wherever the
    /// configuration names some.
    pub dns: Option<DnsPlan>,
}

impl HostPlan {
    /// The plan for this answer under these wishes.
    #[must_use]
    pub fn new(wishes: &HostWishes, assignment: &Assignment) -> Self {
        let servers = if !wishes.dns.is_empty() {
            wishes.dns.clone()
        } else if wishes.route_mode == RouteMode::Default {
            assignment.dns.clone()
        } else {
            Vec::new()
        };
        // Routes depend on the address: the kernel drops those of one that leaves the device.
        let network = assignment.address.trunc();
        Self {
            tun: TunPlan {
                address: assignment.address,
                mtu: assignment.tun_mtu,
            },
            routes: RoutePlan {
                tun: wishes.tun.clone(),
                address: assignment.address.addr(),
                network,
                mode: match wishes.route_mode {
                    RouteMode::Default => qdt_host::RouteMode::Default,
                    RouteMode::Cidr => qdt_host::RouteMode::Cidr(network),
                    RouteMode::None => qdt_host::RouteMode::None,
                },
            },
            dns: (!servers.is_empty()).then(|| DnsPlan {
                tun: wishes.tun.clone(),
                servers,
            }),
        }
    }
}
