//! What the host's own network looks like, without anything of ours.

use std::{future::Future, io, net::IpAddr};

use ipnet::IpNet;

/// A network that an address of an interface connects this host to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectedNetwork {
    /// The interface's name.
    pub interface: String,
    /// The network, without host bits; of a point-to-point link the other end.
    pub network: IpNet,
}

/// Reads the host's own network. Every error is what the operating system answered.
pub trait Network: Send + Sync {
    /// Returns the IPv4 network of every address of every interface, up or down, in the system's
    /// order.
    fn connected_networks(&self) -> impl Future<Output = io::Result<Vec<ConnectedNetwork>>> + Send;

    /// Returns the name of the interface that the host's IPv4 default route with the lowest metric
    /// goes through, or `None` where there is no such route.
    fn default_route_interface(&self) -> impl Future<Output = io::Result<Option<String>>> + Send;

    /// Returns the source address that the default route gives: its preferred source where it names
    /// one, otherwise the first global address of its interface. IPv4 is asked first; `None` where
    /// neither family has a default route.
    fn default_route_source(&self) -> impl Future<Output = io::Result<Option<IpAddr>>> + Send;
}
