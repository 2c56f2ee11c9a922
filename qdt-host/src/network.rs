//! The host's own networks and default route.

use std::{future::Future, io, net::IpAddr};

use ipnet::IpNet;

/// A network that the host is connected to by an address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectedNetwork {
    /// The interface's name.
    pub interface: String,
    /// The network, without host bits; of a point-to-point link the peer's address.
    pub network: IpNet,
}

/// Reads the host's own network. Errors are those of the operating system.
pub trait Network: Send + Sync {
    /// Returns the IPv4 network of every address of every interface, up or down, in the system's
    /// order.
    fn connected_networks(&self) -> impl Future<Output = io::Result<Vec<ConnectedNetwork>>> + Send;

    /// Returns the interface of the IPv4 default route with the lowest metric, or `None` without
    /// such a route.
    fn default_route_interface(&self) -> impl Future<Output = io::Result<Option<String>>> + Send;

    /// Returns the source address of the default route: its preferred source where it names one,
    /// otherwise the first global address of its interface. IPv4 comes first; `None` where neither
    /// family has a default route.
    fn default_route_source(&self) -> impl Future<Output = io::Result<Option<IpAddr>>> + Send;
}
