//! The networks that this host reaches without the tunnel, as its routing tables have them.
//!
//! Only what nobody on a LAN can invent is near: routes that the kernel made from the host's own
//! addresses, and routes through point-to-point devices (other VPNs, modems). A route that names a
//! router on a LAN may come from a DHCP server and is left out, and so is whatever is wider than
//! [`WIDEST`].

use std::{collections::HashMap, io};

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::{
    link::LinkFlags,
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use super::{
    default_route, links, routes,
    rtnl::{Rtnl, os_error},
};
use crate::routes::RouteIdentity;

/// The shortest prefix of a network of one's own: 10.0.0.0/8 is the largest private one. A shorter
/// one (0.0.0.0/1 and 128.0.0.0/1 are customary) stands for a default route.
pub(super) const WIDEST: u8 = 8;

/// What the routing tables say, apart from our own table.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// Networks that are reached on other interfaces.
    pub(super) near: Vec<Reached>,
    /// Routes of the main table that stand for a default route without being one.
    pub(super) wide: Vec<Reached>,
    /// What other tunnels of qdt-client carry.
    pub(super) tunnels: Vec<(RouteIdentity, Reached)>,
    /// The indices of the devices of all tunnels of qdt-client, this one included.
    pub(super) devices: Vec<u32>,
}

/// A network and the interface on which it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) network: Ipv4Net,
    pub(super) interface: String,
    /// Whether an address of the host lies in it, rather than a route leading there.
    pub(super) connected: bool,
}

impl Reached {
    /// Whether it keeps its own way although the tunnel carries `network`: what the host is
    /// connected to always does where the two overlap, a mere route only where it is not wider.
    pub(super) fn is_spared_by(&self, network: Ipv4Net) -> bool {
        network.contains(&self.network) || (self.connected && self.network.contains(&network))
    }
}

/// Reads the tables. `own` is the index of the tunnel's device.
pub(super) async fn surroundings(rtnl: &Rtnl, own: u32) -> io::Result<Surroundings> {
    let links = rtnl.handle.link().get().execute();
    let links: Vec<_> = links.try_collect().await.map_err(os_error)?;
    let links: HashMap<_, _> = links.iter().map(|link| (link.header.index, link)).collect();
    let all = routes::all(rtnl).await?;
    let ours = all.iter().filter(|route| routes::is_ours(route));
    let mut found = Surroundings {
        devices: ours
            .filter_map(default_route::output)
            .chain([own])
            .collect(),
        ..Surroundings::default()
    };
    for route in all.iter().filter(|r| r.header.kind == RouteType::Unicast) {
        let index = default_route::output(route).filter(|index| *index != own);
        let Some(link) = index.and_then(|index| links.get(&index)) else {
            continue;
        };
        let (Some(network), Some(interface)) = (routes::destination(route), links::name(link))
        else {
            continue;
        };
        let connected = is_connected(route);
        let reached = Reached {
            network,
            interface,
            connected,
        };
        if routes::is_ours(route) {
            let identity = routes::table(route).and_then(RouteIdentity::of_table);
            found
                .tunnels
                .extend(identity.map(|identity| (identity, reached)));
        } else if route.header.table == RouteHeader::RT_TABLE_MAIN
            && !found.devices.contains(&link.header.index)
        {
            match network.prefix_len() {
                0 => {}
                prefix if prefix < WIDEST => found.wide.push(reached),
                _ if connected || link.header.flags.contains(LinkFlags::Pointopoint) => {
                    found.near.push(reached);
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Whether the kernel made this route from an address of the host.
fn is_connected(route: &RouteMessage) -> bool {
    let via = |attribute: &RouteAttribute| {
        matches!(
            attribute,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_)
        )
    };
    route.header.protocol == RouteProtocol::Kernel
        && route.header.scope == RouteScope::Link
        && !route.attributes.iter().any(via)
}
