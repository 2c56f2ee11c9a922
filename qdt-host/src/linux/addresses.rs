//! Reading the IPv4 addresses of interfaces from rtnetlink answers.

use std::{io, net::IpAddr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
};

use super::rtnl::{Rtnl, os_error};

/// All IPv4 addresses of the interface with this index, as the kernel describes them.
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

/// The IPv4 addresses of all interfaces.
pub(super) async fn all_ipv4(rtnl: &Rtnl) -> io::Result<Vec<AddressMessage>> {
    let all = rtnl.handle.address().get().execute();
    let mut all: Vec<_> = all.try_collect().await.map_err(os_error)?;
    all.retain(|message: &AddressMessage| message.header.family == AddressFamily::Inet);
    Ok(all)
}

/// The local address that `message` names.
pub(super) fn local(message: &AddressMessage) -> Option<IpAddr> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        })
}

/// The network that an address connects its interface to, without host bits; of a
/// point-to-point link the other end.
pub(super) fn network(message: &AddressMessage) -> Option<IpNet> {
    let other_end = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
    let address = other_end.or_else(|| local(message))?;
    let network = IpNet::new(address, message.header.prefix_len).ok()?;
    Some(network.trunc())
}

/// Whether the kernel would choose this address as a source toward the rest of the world.
pub(super) fn is_primary(message: &AddressMessage) -> bool {
    message.header.scope == AddressScope::Universe
        && !message.header.flags.contains(AddressHeaderFlags::Secondary)
}
