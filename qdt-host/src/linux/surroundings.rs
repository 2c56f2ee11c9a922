//! The networks that this host reaches without the tunnel, read from its routing tables.
//!
//! Local networks are connected ones, whether the kernel or a DHCP client wrote their route, and
//! those routed through point-to-point devices (other VPNs, modems).
//!
//! Invariants: a route by way of a router on the LAN, or to another network there, is not local,
//! since a DHCP server may have sent it; neither is one wider than [`SHORTEST_LOCAL_PREFIX`]. So a
//! rogue DHCP server, which also chooses the host's address and mask, can keep at most one network
//! of that width out of the tunnel.

use std::{collections::HashMap, io, net::IpAddr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::{
    AddressFamily,
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

/// The shortest prefix of a local network: 10.0.0.0/8 is the largest private one. A shorter one
/// (customary: 0.0.0.0/1 and 128.0.0.0/1) counts as a default route.
pub(super) const SHORTEST_LOCAL_PREFIX: u8 = 8;

/// The routing tables and addresses of the host at one moment.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// The routes of every tunnel of qdt-client, unparsed.
    pub(super) ours: Vec<RouteMessage>,
    /// The IPv4 addresses of the host, with the index of their interface.
    pub(super) addresses: Vec<(u32, IpAddr)>,
    /// The local networks on other interfaces.
    pub(super) local: Vec<RoutedNetwork>,
    /// Routes of the main table that count as a default route by their width.
    pub(super) wide: Vec<RoutedNetwork>,
    /// The networks of other tunnels of qdt-client.
    pub(super) tunnels: Vec<(RouteIdentity, RoutedNetwork)>,
    /// The device indices of all tunnels of qdt-client, this one included.
    pub(super) devices: Vec<u32>,
}

/// A network and the interface of its route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoutedNetwork {
    pub(super) network: IpNet,
    pub(super) interface: String,
    /// Whether the host has an address in the network, not only a route to it.
    pub(super) connected: bool,
}

impl RoutedNetwork {
    /// Returns whether it is exempt from the tunnel's `network`: a connected network is where the
    /// two overlap, a routed one only where it is not wider.
    pub(super) fn is_exempt_from(&self, network: IpNet) -> bool {
        network.contains(&self.network) || (self.connected && self.network.contains(&network))
    }
}

/// Reads the routing tables. `own` is the index of the tunnel's device.
pub(super) async fn read(rtnl: &Rtnl, own: u32) -> io::Result<Surroundings> {
    let links = rtnl.handle.link().get().execute();
    let links: Vec<_> = links.try_collect().await.map_err(os_error)?;
    let links: HashMap<_, _> = links.iter().map(|link| (link.header.index, link)).collect();
    let all = routes::list_routes(rtnl).await?;
    let ours = all.iter().filter(|route| routes::is_ours(route));
    let ours: Vec<_> = ours.cloned().collect();
    let devices = ours.iter().filter_map(default_route::output);
    let devices = devices.chain([own]).collect();
    let messages = addresses::list(rtnl, AddressFamily::Inet, None).await?;
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
        let reached = RoutedNetwork {
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
                prefix if prefix < SHORTEST_LOCAL_PREFIX => found.wide.push(reached),
                _ if connected || link.header.flags.contains(LinkFlags::Pointopoint) => {
                    found.local.push(reached);
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Returns whether `route` leads to a network of its interface's address without a gateway. Its
/// protocol may be any: some DHCP clients write the route in place of the kernel.
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
