//! The IPv4 networks that this host is connected to.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
};

use ipnet::Ipv4Net;

use super::{addresses, links, rtnl::Rtnl};

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
    let all = addresses::all_ipv4(&rtnl).await?;
    let mut names = HashMap::new();
    let mut connected = Vec::new();
    for message in &all {
        let Some(network) = addresses::network(message) else {
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
