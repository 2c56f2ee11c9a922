//! The IPv4 networks that this host is connected to.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::{IpAddr, Ipv4Addr},
};

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
};

use super::{
    links,
    rtnl::{Rtnl, os_error},
};

/// A network that an address of an interface connects this host to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectedNetwork {
    /// The interface's name.
    pub interface: String,
    /// The network, without host bits; of a point-to-point link the other end.
    pub network: Ipv4Net,
}

/// Returns the IPv4 network of every address of every interface, up or down, in the kernel's order.
///
/// # Errors
/// What the kernel answered to rtnetlink.
pub async fn connected_networks() -> io::Result<Vec<ConnectedNetwork>> {
    let rtnl = Rtnl::connect()?;
    let all = rtnl.handle.address().get().execute();
    let all: Vec<_> = all.try_collect().await.map_err(os_error)?;
    let mut names = HashMap::new();
    let mut connected = Vec::new();
    for message in &all {
        let Some(network) = network(message) else {
            continue;
        };
        let interface = match names.entry(message.header.index) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => match links::name_of(&rtnl, *unknown.key()).await {
                Ok(name) => unknown.insert(name),
                // It was removed meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => continue,
                Err(error) => return Err(error),
            },
        };
        connected.push(ConnectedNetwork {
            interface: interface.clone(),
            network,
        });
    }
    Ok(connected)
}

fn network(message: &AddressMessage) -> Option<Ipv4Net> {
    if message.header.family != AddressFamily::Inet {
        return None;
    }
    let find =
        |pick: fn(&AddressAttribute) -> Option<Ipv4Addr>| message.attributes.iter().find_map(pick);
    let other_end = find(|attribute| match attribute {
        AddressAttribute::Address(IpAddr::V4(address)) => Some(*address),
        _ => None,
    });
    let own = || {
        find(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
            _ => None,
        })
    };
    let network = Ipv4Net::new(other_end.or_else(own)?, message.header.prefix_len).ok()?;
    Some(network.trunc())
}
