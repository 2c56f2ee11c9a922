//! [`Network`] for Linux, through rtnetlink.

use std::{io, net::IpAddr};

use super::{connected, default_route};
use crate::network::{ConnectedNetwork, Network};

/// Reads the network of this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostNetwork;

impl Network for HostNetwork {
    async fn connected_networks(&self) -> io::Result<Vec<ConnectedNetwork>> {
        connected::connected_networks().await
    }

    async fn default_route_interface(&self) -> io::Result<Option<String>> {
        default_route::default_route_interface().await
    }

    async fn default_route_source(&self) -> io::Result<Option<IpAddr>> {
        default_route::default_route_source().await
    }
}
