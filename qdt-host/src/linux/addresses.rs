//! IPv4 addresses of interfaces, from rtnetlink messages.

use std::{io, net::IpAddr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
};

use super::rtnl::{Rtnl, os_error};

/// Lists the IPv4 addresses of the interface `index`.
pub(super) async fn ipv4_of(rtnl: &Rtnl, index: u32) -> io::Result<Vec<AddressMessage>> {
    let all = rtnl
        .handle
        .address()
        .get()
        .set_link_index_filter(index)
        .execute();
    let all: Vec<_> = all.try_collect().await.map_err(os_error)?;
    Ok(all
        .into_iter()
        .filter(|a| a.header.family == AddressFamily::Inet)
        .collect())
}

/// Lists the IPv4 addresses of all interfaces.
pub(super) async fn all_ipv4(rtnl: &Rtnl) -> io::Result<Vec<AddressMessage>> {
    let all = rtnl.handle.address().get().execute();
    let mut all: Vec<_> = all.try_collect().await.map_err(os_error)?;
    all.retain(|message: &AddressMessage| message.header.family == AddressFamily::Inet);
    Ok(all)
}

/// Returns the local address in `message`.
pub(super) fn local(message: &AddressMessage) -> Option<IpAddr> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        })
}

/// Returns the network of an address, without host bits; of a point-to-point link the peer's
/// address.
pub(super) fn network(message: &AddressMessage) -> Option<IpNet> {
    let peer = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
    let address = peer.or_else(|| local(message))?;
    let network = IpNet::new(address, message.header.prefix_len).ok()?;
    Some(network.trunc())
}

/// Returns whether the kernel may choose this address as a source for global destinations.
pub(super) fn is_primary(message: &AddressMessage) -> bool {
    message.header.scope == AddressScope::Universe
        && !message.header.flags.contains(AddressHeaderFlags::Secondary)
}
