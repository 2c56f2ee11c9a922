//! Routes of a client's tunnel.
//!
//! Invariants: the host's own routing tables are never written. The tunnel's QUIC packets (their
//! sockets get [`crate::Outside`]) take the same route as without the tunnel, whatever networks the
//! tunnel carries and wherever the host roams. Without the TUN device the host routes as before.
//!
//! IPv6 routes stay as they are: the tunnel carries IPv4 only.

use std::{future::Future, io, net::IpAddr};

use ipnet::IpNet;

use crate::firewall::FirewallError;

/// The destinations that go through the tunnel, in addition to the tunnel's own network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteMode {
    /// Everything except destinations with a route of /8 or longer in the main table, and the
    /// multicast and broadcast of a LAN: the LAN stays reachable.
    Default,
    /// This network, except networks that the host is connected to.
    Cidr(IpNet),
    /// No other destinations.
    None,
}

/// The routes of one tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    /// The name of the TUN device.
    pub tun: String,
    /// The client's inner address: the only address of the device, and thereby the source of
    /// packets that enter the tunnel. It does not answer on other interfaces.
    pub address: IpAddr,
    /// The tunnel's own network. It goes through the tunnel in every mode, except networks that the
    /// host is connected to.
    pub network: IpNet,
    /// The other destinations.
    pub mode: RouteMode,
}

/// Installs and removes the routes of a client's tunnel.
pub trait Routes: Send + Sync {
    /// Installs `plan`. The device must exist, be up and have `plan.address`. Replaces an earlier
    /// plan of the same device without a leak in between. Installing a plan again repairs it and
    /// follows the networks that the host is connected to. After an error none of our routes is
    /// left.
    fn install(
        &self,
        plan: &RoutePlan,
    ) -> impl Future<Output = Result<Vec<RouteWarning>, RouteError>> + Send;

    /// Restores missing parts of an installed `plan`, and follows the networks that the host is
    /// connected to. Changes nothing where no part is missing. A failure leaves the other parts in
    /// place, unlike one of `install`.
    fn restore(&self, plan: &RoutePlan) -> impl Future<Output = Restored> + Send;

    /// Removes everything that this run or an earlier one installed for the device `tun`. Succeeds
    /// where there is nothing to remove.
    fn remove(&self, tun: &str) -> impl Future<Output = Result<(), RouteError>> + Send;

    /// Removes leftovers of killed runs: rules and routes of the device `tun`, which the caller
    /// must own, and our rules of any device whose table is empty and that has no owner
    /// ([`crate::OwnerError`]).
    fn remove_leftovers(&self, tun: &str) -> impl Future<Output = Result<(), RouteError>> + Send;
}

/// The result of [`Routes::restore`].
#[derive(Debug, Default)]
pub struct Restored {
    /// The restored parts, in words for the log.
    pub parts: Vec<String>,
    /// Networks of the host that got a new rule to exempt them: the host has joined them, or, where
    /// [`RouteWarning::Overlap`] named them before, another program had removed the rule.
    pub exempted: Vec<IpNet>,
    /// Every current warning about networks ([`RouteWarning::is_about_networks`]), and one for each
    /// part that could not be restored.
    pub warnings: Vec<RouteWarning>,
    /// The error that ended the check early; the other fields describe the checks before it.
    pub failure: Option<RouteError>,
}

/// A limitation of the installed routes, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteWarning {
    /// Hosts on the LAN can probe this host for the tunnel's address.
    #[error(
        "the tunnel's address {address} answers on the networks this host is in, which tells them \
         of the tunnel ({reason})"
    )]
    AddressVisible {
        /// The tunnel's address.
        address: IpAddr,
        /// Why it could not be prevented.
        reason: String,
    },
    /// A network of the host overlaps one of the tunnel and keeps its route.
    #[error(
        "the tunnel's network {network} overlaps {other} of interface `{interface}`: what lies in \
         both is reached there and not through the tunnel; set another `pool_cidr` at the server \
         or give `{interface}` another network"
    )]
    Overlap {
        /// The tunnel's network.
        network: IpNet,
        /// The host's network.
        other: IpNet,
        /// The interface of the host's network.
        interface: String,
    },
    /// Another qdt-client's tunnel carries an overlapping network.
    #[error(
        "`{interface}`, the tunnel of another qdt-client, carries {other} and this one {network}: \
         what both carry goes into `{winner}`; give the servers different `pool_cidr`, and only \
         one client `route_mode: default`"
    )]
    OtherTunnel {
        /// This tunnel's network.
        network: IpNet,
        /// The other tunnel's network.
        other: IpNet,
        /// The other tunnel's device.
        interface: String,
        /// The device that carries the shared part.
        winner: String,
    },
    /// The main table has a route wider than /8, which counts as a default route.
    #[error(
        "the route {network} by `{interface}` covers more than any local network (/8) and is not \
         followed: `route_mode: default` takes what it covers into the tunnel; remove it, or set \
         `route_mode: cidr` if another VPN is to carry everything"
    )]
    WideRoute {
        /// Its destination.
        network: IpNet,
        /// Its interface.
        interface: String,
    },
    /// Replies to connections from outside the tunnel are lost.
    #[error(
        "connections from beyond the LAN to a public address of this host are not answered while \
         the tunnel takes everything ({reason})"
    )]
    InboundLost {
        /// Why it could not be prevented.
        reason: String,
    },
    /// Strict reverse path filtering would drop the server's packets, and cannot use the mark.
    #[error(
        "net.ipv4.conf.*.rp_filter is 1 (strict) and the answers of the server would be dropped: \
         set it to 2 ({reason})"
    )]
    StrictReversePath {
        /// Why it could not be prevented.
        reason: String,
    },
}

impl RouteWarning {
    /// Returns whether the warning depends on the host's current networks: [`Routes::restore`]
    /// repeats it each time.
    #[must_use]
    pub fn is_about_networks(&self) -> bool {
        matches!(
            self,
            Self::Overlap { .. } | Self::OtherTunnel { .. } | Self::WideRoute { .. }
        )
    }
}

/// Why routes could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The device's name is not safe in a rule.
    #[error("routes: {0}")]
    Name(#[from] crate::InterfaceNameError),
    /// The TUN device does not exist.
    #[error("routes: interface `{tun}` does not exist")]
    TunMissing {
        /// Its name.
        tun: String,
    },
    /// Another interface has the tunnel's address.
    #[error(
        "routes of `{tun}`: the server gave this client {address}, which `{interface}` has \
         already: set another `pool_cidr` at the server or give `{interface}` another address"
    )]
    AddressTaken {
        /// The device's name.
        tun: String,
        /// The address.
        address: IpAddr,
        /// The interface that has it.
        interface: String,
    },
    /// The process lacks the permission.
    #[error(
        "routes of `{tun}`: cannot {step}: permission denied: run as root or give the program \
         CAP_NET_ADMIN"
    )]
    Permission {
        /// The device's name.
        tun: String,
        /// The operation that failed.
        step: String,
    },
    /// An nftables table of the tunnel could not be changed.
    #[error("routes of `{tun}`: cannot {step}: {source}")]
    Table {
        /// The device's name.
        tun: String,
        /// The operation that failed.
        step: String,
        /// The error of `nft`.
        #[source]
        source: FirewallError,
    },
    /// The kernel returned another error.
    #[error("routes of `{tun}`: cannot {step}: {source}")]
    Kernel {
        /// The device's name.
        tun: String,
        /// The operation that failed.
        step: String,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
}
