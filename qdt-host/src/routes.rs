//! What a client sends through the tunnel, and that the tunnel's own packets stay outside it.
//!
//! A plan says what; how it is done is the platform's. Nothing is written into the host's own
//! tables, and the tunnel's own QUIC packets (its socket is given [`crate::Outside`]) take the way
//! they would take without the tunnel, whatever networks are routed into it and wherever the host
//! roams. When the TUN device disappears, the host is as it was.
//!
//! IPv6 is not touched in this version, since the tunnel does not carry it.

use std::{future::Future, io, net::IpAddr};

use ipnet::IpNet;

use crate::firewall::FirewallError;

/// Which destinations go through the tunnel, beside the tunnel's own network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteMode {
    /// Everything but what the main table has a more specific route for, /8 or longer, and the
    /// multicast and broadcast of a LAN: the LAN stays reachable.
    Default,
    /// This network, except what the host is connected to.
    Cidr(IpNet),
    /// Nothing else.
    None,
}

/// The routes of one tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    /// The name of the TUN device.
    pub tun: String,
    /// The client's address inside the tunnel. It is the device's one address, and thereby the
    /// source of what enters the tunnel; on other interfaces it shall not answer.
    pub address: IpAddr,
    /// The tunnel's own network, which is reached through the tunnel in every mode, except what
    /// the host is connected to.
    pub network: IpNet,
    /// What else goes through the tunnel.
    pub mode: RouteMode,
}

/// Installs and removes the routes of a client's tunnel.
pub trait Routes: Send + Sync {
    /// Makes the host's routing what `plan` says. The device must exist, be up and carry
    /// `plan.address`, which is kept from answering on other interfaces. An earlier plan for the
    /// same device is replaced without a moment in which traffic leaves beside the tunnel; the same
    /// plan again repairs what is missing and follows the networks that the host is connected to.
    /// After an error nothing of ours is left.
    fn install(
        &self,
        plan: &RoutePlan,
    ) -> impl Future<Output = Result<Vec<RouteWarning>, RouteError>> + Send;

    /// Puts back what of an installed `plan` is missing, and follows the networks that the host is
    /// connected to. Nothing is changed where all is as it was installed. Unlike after a failed
    /// `install`, what stands stays after a failure.
    fn restore(&self, plan: &RoutePlan) -> impl Future<Output = Restored> + Send;

    /// Removes everything that a plan for the device `tun` installed, now or in an earlier run.
    /// Nothing to remove is no error.
    fn remove(&self, tun: &str) -> impl Future<Output = Result<(), RouteError>> + Send;

    /// Removes what killed runs left behind: rules and routes of the device `tun`, which the caller
    /// must own, and rules of ours, for whatever device, whose table holds no route any more and
    /// that have no owner ([`crate::OwnerError`]).
    fn remove_leftovers(&self, tun: &str) -> impl Future<Output = Result<(), RouteError>> + Send;
}

/// What [`Routes::restore`] did, and what it found.
#[derive(Debug, Default)]
pub struct Restored {
    /// What was missing and was put back, in words for the log.
    pub parts: Vec<String>,
    /// Networks of the host that had no rule to spare them and have one now: the host has joined
    /// them, or, where [`RouteWarning::Overlap`] named them before, somebody removed the rule.
    pub spared: Vec<IpNet>,
    /// Every warning about networks that holds now ([`RouteWarning::is_about_networks`]), and what
    /// could not be put back.
    pub warnings: Vec<RouteWarning>,
    /// What it ended with before everything was looked at; the rest of this tells what came before.
    pub failure: Option<RouteError>,
}

/// Something the routes cannot help, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteWarning {
    /// The networks that this host is in can ask it for the tunnel's address.
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
    /// A network of the host overlaps one of the tunnel and stays as it was.
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
        /// Where the host has it.
        interface: String,
    },
    /// Another tunnel of a qdt-client carries the same.
    #[error(
        "`{interface}`, the tunnel of another qdt-client, carries {other} and this one {network}: \
         what both carry goes into `{winner}`; give the servers different `pool_cidr`, and only \
         one client `route_mode: default`"
    )]
    OtherTunnel {
        /// This tunnel's network.
        network: IpNet,
        /// The other's.
        other: IpNet,
        /// The other's device.
        interface: String,
        /// The device that gets what both carry.
        winner: String,
    },
    /// The main table has a route that is nearly a default route and would empty the tunnel.
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
    /// Connections that come in from outside the tunnel get no answer.
    #[error(
        "connections from beyond the LAN to a public address of this host are not answered while \
         the tunnel takes everything ({reason})"
    )]
    InboundLost {
        /// Why it could not be arranged.
        reason: String,
    },
    /// Strict reverse path filtering would drop what the server sends, and could not be told about
    /// the mark.
    #[error(
        "net.ipv4.conf.*.rp_filter is 1 (strict) and the answers of the server would be dropped: \
         set it to 2 ({reason})"
    )]
    StrictReversePath {
        /// Why it could not be arranged.
        reason: String,
    },
}

impl RouteWarning {
    /// Whether it holds while the host has certain networks and no longer: [`Routes::restore`]
    /// tells it again each time.
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
    /// The device's name cannot stand in a rule.
    #[error("routes: {0}")]
    Name(#[from] crate::InterfaceNameError),
    /// The TUN device is gone.
    #[error("routes: interface `{tun}` does not exist")]
    TunMissing {
        /// Its name.
        tun: String,
    },
    /// The host has the tunnel's address already.
    #[error(
        "routes of `{tun}`: the server gave this client {address}, which `{interface}` has \
         already: set another `pool_cidr` at the server or give `{interface}` another address"
    )]
    AddressTaken {
        /// The device's name.
        tun: String,
        /// The address.
        address: IpAddr,
        /// Who has it.
        interface: String,
    },
    /// The process may not do this.
    #[error(
        "routes of `{tun}`: cannot {step}: permission denied: run as root or give the program \
         CAP_NET_ADMIN"
    )]
    Permission {
        /// The device's name.
        tun: String,
        /// What was to be done.
        step: String,
    },
    /// An nftables table of the tunnel could not be written.
    #[error("routes of `{tun}`: cannot {step}: {source}")]
    Table {
        /// The device's name.
        tun: String,
        /// What was to be done.
        step: String,
        /// What `nft` said.
        #[source]
        source: FirewallError,
    },
    /// The kernel refused for another reason.
    #[error("routes of `{tun}`: cannot {step}: {source}")]
    Kernel {
        /// The device's name.
        tun: String,
        /// What was to be done.
        step: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
