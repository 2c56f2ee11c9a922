//! [`Host`] for the host in memory, which is all of its parts.

use std::{io, net::IpAddr};

use super::{Call, MemoryHost, MemoryWatch};
use crate::{
    ConnectedNetwork, Conntrack, ConntrackError, Host, Network, Outside, OwnerError, OwnerWarning,
};

impl Host for MemoryHost {
    type Tun = Self;
    type Links = Self;
    type Network = Self;
    type Routes = Self;
    type Dns = Self;
    type Firewall = Self;
    type Conntrack = Self;
    type Watch = MemoryWatch;
    type Owner = ();

    fn tun(&self) -> &Self {
        self
    }

    fn links(&self) -> &Self {
        self
    }

    fn network(&self) -> &Self {
        self
    }

    fn routes(&self) -> &Self {
        self
    }

    fn dns(&self) -> &Self {
        self
    }

    fn firewall(&self) -> &Self {
        self
    }

    fn conntrack(&self) -> Self {
        self.clone()
    }

    fn watch(&self) -> MemoryWatch {
        self.watch()
    }

    /// A host in memory has no routes to bypass.
    fn outside(&self, _: &str) -> Outside {
        Outside::Interface(1)
    }

    /// A host in memory has no other clients.
    fn claim(&self, _: &str) -> Result<((), Option<OwnerWarning>), OwnerError> {
        Ok(((), None))
    }
}

impl Network for MemoryHost {
    async fn connected_networks(&self) -> io::Result<Vec<ConnectedNetwork>> {
        Ok(self.state().connected)
    }

    async fn default_route_interface(&self) -> io::Result<Option<String>> {
        Ok(self.state().default_route.map(|(interface, _)| interface))
    }

    async fn default_route_source(&self) -> io::Result<Option<IpAddr>> {
        Ok(self.state().default_route.map(|(_, source)| source))
    }
}

impl Conntrack for MemoryHost {
    async fn delete_flows(&self, addresses: &[IpAddr]) -> Result<usize, ConntrackError> {
        match self.enter(Call::DeleteFlows(addresses.to_vec())) {
            Ok(_) => Ok(0),
            Err(_) => Err(ConntrackError::Permission),
        }
    }
}
