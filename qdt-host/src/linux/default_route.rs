//! The interface and source address of the host's default route.

use std::{io, net::IpAddr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressScope},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType},
};

use super::{
    addresses, links,
    rtnl::{Rtnl, list_routes_request, os_error},
};

/// Implements [`crate::Network::default_route_interface`] for the main table.
pub(super) async fn default_route_interface() -> io::Result<Option<String>> {
    let rtnl = Rtnl::connect()?;
    let route = default_route(&rtnl, AddressFamily::Inet).await?;
    match route.as_ref().and_then(output) {
        Some(index) => links::name_of(&rtnl, index).await.map(Some),
        None => Ok(None),
    }
}

/// Implements [`crate::Network::default_route_source`].
pub(super) async fn default_route_source() -> io::Result<Option<IpAddr>> {
    let rtnl = Rtnl::connect()?;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let Some(route) = default_route(&rtnl, family).await? else {
            continue;
        };
        let mut attributes = route.attributes.iter();
        let preferred = attributes.find_map(|attribute| match attribute {
            RouteAttribute::PrefSource(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
            RouteAttribute::PrefSource(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
            _ => None,
        });
        let source = match (preferred, output(&route)) {
            (Some(address), _) => Some(address),
            (None, Some(index)) if family == AddressFamily::Inet => {
                let all = addresses::list(&rtnl, family, Some(index)).await?;
                let first = all.iter().find(|address| addresses::is_primary(address));
                first.and_then(addresses::local)
            }
            (None, Some(index)) => global_ipv6(&rtnl, index).await?,
            (None, None) => None,
        };
        if source.is_some() {
            return Ok(source);
        }
    }
    Ok(None)
}

async fn default_route(rtnl: &Rtnl, family: AddressFamily) -> io::Result<Option<RouteMessage>> {
    let all = rtnl.handle.route().get(list_routes_request(family));
    let routes = all.execute().try_collect::<Vec<_>>().await;
    let routes = routes.map_err(os_error)?;
    let defaults = routes.into_iter().filter(|route| {
        route.header.address_family == family
            && route.header.table == RouteHeader::RT_TABLE_MAIN
            && route.header.kind == RouteType::Unicast
            && route.header.destination_prefix_length == 0
    });
    Ok(defaults.min_by_key(metric))
}

fn metric(route: &RouteMessage) -> u32 {
    let mut attributes = route.attributes.iter();
    let priority = attributes.find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    priority.unwrap_or_default()
}

/// Returns the interface of a route, or of its first next hop where it has several.
pub(super) fn output(route: &RouteMessage) -> Option<u32> {
    let mut attributes = route.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        RouteAttribute::MultiPath(hops) => hops.first().map(|hop| hop.interface_index),
        _ => None,
    })
}

async fn global_ipv6(rtnl: &Rtnl, index: u32) -> io::Result<Option<IpAddr>> {
    let all = addresses::list(rtnl, AddressFamily::Inet6, Some(index)).await?;
    let global = all
        .iter()
        .filter(|address| address.header.scope == AddressScope::Universe);
    Ok(global
        .flat_map(|address| &address.attributes)
        .find_map(|attribute| match attribute {
            AddressAttribute::Address(IpAddr::V6(address)) => Some(IpAddr::V6(*address)),
            _ => None,
        }))
}
