//! The IPv4 networks that this host is connected to.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
};

use rtnetlink::packet_route::AddressFamily;

use super::{addresses, links, rtnl::Rtnl};
use crate::network::ConnectedNetwork;

/// Implements [`crate::Network::connected_networks`].
pub(super) async fn connected_networks() -> io::Result<Vec<ConnectedNetwork>> {
    let rtnl = Rtnl::connect()?;
    let all = addresses::list(&rtnl, AddressFamily::Inet, None).await?;
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
                // The interface was removed concurrently.
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
