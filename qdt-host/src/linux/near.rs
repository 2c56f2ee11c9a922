//! The networks that this host reaches without the tunnel, as its routing tables have them.
//!
//! Near are networks that an address of the host lies in, whoever wrote their route (the kernel or
//! a DHCP client), and routes through point-to-point devices (other VPNs, modems). A route that
//! names a router on a LAN, or leads to another network there, may come from a DHCP server and is
//! left out, and so is whatever is wider than [`WIDEST`]. A DHCP server also chooses the host's
//! address and mask, so whoever answers DHCP decides about one network up to that width.

use std::{collections::HashMap, io, net::IpAddr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::{
    address::AddressMessage,
    link::LinkFlags,
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use super::{
    addresses, default_route,
    identity::RouteIdentity,
    links, routes,
    rtnl::{Rtnl, os_error},
};

/// The shortest prefix of a network of one's own: 10.0.0.0/8 is the largest private one. A shorter
/// one (0.0.0.0/1 and 128.0.0.0/1 are customary) stands for a default route.
pub(super) const WIDEST: u8 = 8;

/// What the routing tables say, apart from our own table.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// The routes of every tunnel of qdt-client, as they were read.
    pub(super) ours: Vec<RouteMessage>,
    /// The IPv4 addresses of the host and the indices of their interfaces.
    pub(super) addresses: Vec<(u32, IpAddr)>,
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
    pub(super) network: IpNet,
    pub(super) interface: String,
    /// Whether an address of the host lies in it, rather than a route leading there.
    pub(super) connected: bool,
}

impl Reached {
    /// Whether it keeps its own way although the tunnel carries `network`: what the host is
    /// connected to always does where the two overlap, a mere route only where it is not wider.
    pub(super) fn is_spared_by(&self, network: IpNet) -> bool {
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
    let ours: Vec<_> = ours.cloned().collect();
    let devices = ours.iter().filter_map(default_route::output);
    let devices = devices.chain([own]).collect();
    let messages = addresses::all_ipv4(rtnl).await?;
    let local = |message: &AddressMessage| {
        let index = message.header.index;
        addresses::local(message).map(|address| (index, address))
    };
    let mut found = Surroundings {
        addresses: messages.iter().filter_map(local).collect(),
        ours,
        devices,
        ..Surroundings::default()
    };
    let network = |message: &AddressMessage| {
        let index = message.header.index;
        addresses::network(message).map(|network| (index, network))
    };
    let networks: Vec<_> = messages.iter().filter_map(network).collect();
    for route in all.iter().filter(|r| r.header.kind == RouteType::Unicast) {
        let index = default_route::output(route).filter(|index| *index != own);
        let Some(link) = index.and_then(|index| links.get(&index)) else {
            continue;
        };
        let (Some(network), Some(interface)) = (routes::destination(route), links::name(link))
        else {
            continue;
        };
        let connected = is_connected(route, network, link.header.index, &networks);
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

/// Whether `route` leads to what an address of its interface lies in, without a router between.
/// Who wrote it does not matter: some DHCP clients do so in place of the kernel.
fn is_connected(
    route: &RouteMessage,
    destination: IpNet,
    index: u32,
    networks: &[(u32, IpNet)],
) -> bool {
    let via = |attribute: &RouteAttribute| {
        matches!(
            attribute,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_)
        )
    };
    let mut here = networks.iter().filter(|(on, _)| *on == index);
    route.header.scope == RouteScope::Link
        && !route.attributes.iter().any(via)
        && (route.header.protocol == RouteProtocol::Kernel
            || here.any(|(_, network)| network.contains(&destination)))
}
