//! The plan of the host's configuration while the tunnel is up, as plain values.
//!
//! Invariants: a plan depends on the configuration and a checked answer only, so an equal answer
//! gives an equal plan, which changes nothing on the host.

use std::net::IpAddr;

use ipnet::IpNet;
use qdt_host::{DnsPlan, RoutePlan};
use qdt_proto::handshake::Assignment;

use crate::config::RouteMode;

/// The TUN device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunPlan {
    /// The inner address with the pool's prefix length.
    pub address: IpNet,
    /// The MTU in bytes.
    pub mtu: u16,
}

/// The part of the configuration that concerns the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// `tun_name`.
    pub tun: String,
    /// `route_mode`.
    pub route_mode: RouteMode,
    /// `dns`: overrides the server's.
    pub dns: Vec<IpAddr>,
}

/// The plan for the whole host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlan {
    /// The TUN device.
    pub tun: TunPlan,
    /// The routes.
    pub routes: RoutePlan,
    /// The name servers, where the client sets them: in mode `default`, and where the configuration
    /// lists some.
    pub dns: Option<DnsPlan>,
}

impl HostPlan {
    /// Returns the plan for an answer.
    #[must_use]
    pub fn new(settings: &HostSettings, assignment: &Assignment) -> Self {
        let servers = if !settings.dns.is_empty() {
            settings.dns.clone()
        } else if settings.route_mode == RouteMode::Default {
            assignment.dns.clone()
        } else {
            Vec::new()
        };
        // Part of the route plan, because the kernel removes the routes of an address with it.
        let network = assignment.address.trunc();
        Self {
            tun: TunPlan {
                address: assignment.address,
                mtu: assignment.tun_mtu(),
            },
            routes: RoutePlan {
                tun: settings.tun.clone(),
                address: assignment.address.addr(),
                network,
                mode: match settings.route_mode {
                    RouteMode::Default => qdt_host::RouteMode::Default,
                    RouteMode::Cidr => qdt_host::RouteMode::Cidr(network),
                    RouteMode::None => qdt_host::RouteMode::None,
                },
            },
            dns: (!servers.is_empty()).then(|| DnsPlan {
                tun: settings.tun.clone(),
                servers,
            }),
        }
    }
}
