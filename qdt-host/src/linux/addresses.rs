//! Addresses of interfaces, from rtnetlink messages.

use std::{io, net::IpAddr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
};

use super::rtnl::{Rtnl, os_error};

/// Lists the addresses of a family, of the interface `index` or of all.
pub(super) async fn list(
    rtnl: &Rtnl,
    family: AddressFamily,
    index: Option<u32>,
) -> io::Result<Vec<AddressMessage>> {
    let mut request = rtnl.handle.address().get();
    if let Some(index) = index {
        request = request.set_link_index_filter(index);
    }
    let all = request.execute().try_collect().await;
    let mut all: Vec<AddressMessage> = all.map_err(os_error)?;
    all.retain(|message| message.header.family == family);
    Ok(all)
}

/// Returns the local address in `message`.
pub(super) fn local(message: &AddressMessage) -> Option<IpAddr> {
    let mut attributes = message.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    })
}

/// Returns the network of an address, without host bits; of a point-to-point link the peer's
/// address.
pub(super) fn network(message: &AddressMessage) -> Option<IpNet> {
    let mut attributes = message.attributes.iter();
    let peer = attributes.find_map(|attribute| match attribute {
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
