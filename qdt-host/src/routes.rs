//! What a client sends through the tunnel: policy rules, one routing table of our own, one mark.
//!
//! Nothing is written into the host's own tables. Traffic is looked up in our table by rules that
//! spare whatever carries the tunnel's mark, so the tunnel's own QUIC packets (its socket sets
//! [`RouteIdentity::mark`] by `SO_MARK`) take the way they would take without the tunnel, whatever
//! networks are routed into it and wherever the host roams. When the TUN device disappears, its
//! routes disappear with it and the rules that stay behind lead to an empty table: the host is as
//! it was.
//!
//! IPv6 is not touched in this version, since the tunnel does not carry it.

use std::{future::Future, io, net::Ipv4Addr};

use ipnet::Ipv4Net;

use crate::firewall::FirewallError;

/// Which destinations go through the tunnel, beside the tunnel's own network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteMode {
    /// Everything but what the main table has a more specific route for, /8 or longer, and the
    /// multicast and broadcast of a LAN: the LAN stays reachable.
    Default,
    /// This network, except what the host is connected to.
    Cidr(Ipv4Net),
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
    pub address: Ipv4Addr,
    /// The tunnel's own network, which is reached through the tunnel in every mode, except what
    /// the host is connected to.
    pub network: Ipv4Net,
    /// What else goes through the tunnel.
    pub mode: RouteMode,
}

/// The numbers by which rules, table and packets of one tunnel are told from everybody else's.
///
/// They follow from the device's name alone, so that a later run finds what an earlier one left,
/// and two tunnels of one host do not meet (with a chance of 1 in 4096 for any two names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteIdentity(u16);

impl RouteIdentity {
    /// The number that names us as the author of rules and routes (`FRA_PROTOCOL`,
    /// `rtm_protocol`); nobody in `iproute2/etc/iproute2/rt_protos` has it.
    pub const PROTOCOL: u8 = 113;
    /// Tables and marks are this plus a number below 4096: bits that Kubernetes and Docker use in
    /// marks (0x4000, 0x8000) are never set.
    const TABLE_BASE: u32 = 0x7164_0000;
    const NUMBERS: u16 = 4096;
    /// What the marks of all tunnels, [`Self::mark`] and [`Self::inbound_mark`], have in common.
    pub(crate) const ANY_MARK: u32 = Self::TABLE_BASE;
    /// The bits of a mark that make [`Self::ANY_MARK`].
    pub(crate) const ANY_MASK: u32 = 0xffff_e000;
    /// The bit by which [`Self::inbound_mark`] differs from [`Self::mark`].
    pub(crate) const INBOUND: u32 = 0x1000;
    /// Rules stand before those of the main table (32766) and behind whatever an administrator
    /// wants to be first. Each tunnel has two priorities for what is its own, and behind those of
    /// all tunnels two for what `route_mode: default` takes: that never takes another's network.
    const PRIORITY_BASE: u32 = 10_000;
    const DEFAULT_BASE: u32 = Self::PRIORITY_BASE + 2 * Self::NUMBERS as u32;

    /// The numbers of the tunnel whose device is called `tun`.
    #[must_use]
    pub fn of(tun: &str) -> Self {
        // FNV-1a, folded: it must give the same number in every version of the program.
        let hash = tun.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let folded = (hash >> 12) ^ hash;
        Self(u16::try_from(folded % u32::from(Self::NUMBERS)).expect("below 4096"))
    }

    /// The number of our routing table.
    #[must_use]
    pub fn table(self) -> u32 {
        Self::TABLE_BASE + u32::from(self.0)
    }

    /// The mark that the tunnel's own UDP sockets set by `SO_MARK` (this needs CAP_NET_ADMIN).
    #[must_use]
    pub fn mark(self) -> u32 {
        self.table()
    }

    /// The mark of connections that came in from outside the tunnel, and of the answers to them.
    #[must_use]
    pub fn inbound_mark(self) -> u32 {
        self.table() + Self::INBOUND
    }

    /// The priority of the rules that send to the main table what the tunnel does not take.
    #[must_use]
    pub fn spared_priority(self) -> u32 {
        Self::PRIORITY_BASE + 2 * u32::from(self.0)
    }

    /// The priority of the rule that sends what is not marked to the networks in our table; only
    /// its default route is left out.
    #[must_use]
    pub fn networks_priority(self) -> u32 {
        self.spared_priority() + 1
    }

    /// The priority of the rule that asks the main table for anything but a default route.
    #[must_use]
    pub fn lan_priority(self) -> u32 {
        Self::DEFAULT_BASE + 2 * u32::from(self.0)
    }

    /// The priority of the rule that sends everything else that is not marked to the default
    /// route in our table.
    #[must_use]
    pub fn default_priority(self) -> u32 {
        self.lan_priority() + 1
    }

    /// The identity whose routes stand in this table, if it is one of ours.
    pub(crate) fn of_table(table: u32) -> Option<Self> {
        let number = u16::try_from(table.checked_sub(Self::TABLE_BASE)?).ok()?;
        (number < Self::NUMBERS).then_some(Self(number))
    }

    /// The identity that a rule of this priority belongs to, if it is one of ours.
    pub(crate) fn of_priority(priority: u32) -> Option<Self> {
        let number = priority.checked_sub(Self::PRIORITY_BASE)? / 2;
        let number = u16::try_from(number).ok()?;
        (number < 2 * Self::NUMBERS).then_some(Self(number % Self::NUMBERS))
    }
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
    pub spared: Vec<Ipv4Net>,
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
        address: Ipv4Addr,
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
        network: Ipv4Net,
        /// The host's network.
        other: Ipv4Net,
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
        network: Ipv4Net,
        /// The other's.
        other: Ipv4Net,
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
        network: Ipv4Net,
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
    /// Whether it holds while the host has certain networks and no longer: [`Routes::restore`] tells
    /// it again each time.
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
        address: Ipv4Addr,
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::RouteIdentity;

    #[test]
    fn an_identity_is_found_again_by_the_priority_of_its_rules() {
        for tun in ["qdt0", "qdt1", "tun0", "vpn", ""] {
            let identity = RouteIdentity::of(tun);
            assert_eq!(
                RouteIdentity::of_priority(identity.spared_priority()),
                Some(identity)
            );
            assert_eq!(
                RouteIdentity::of_priority(identity.networks_priority()),
                Some(identity)
            );
            assert_eq!(
                RouteIdentity::of_priority(identity.lan_priority()),
                Some(identity)
            );
            assert_eq!(
                RouteIdentity::of_priority(identity.default_priority()),
                Some(identity)
            );
            assert!(identity.default_priority() < 32_766);
            for mark in [identity.mark(), identity.inbound_mark()] {
                assert_eq!(mark & 0xc000, 0, "bits that Kubernetes reads");
                assert_eq!(mark & RouteIdentity::ANY_MASK, RouteIdentity::ANY_MARK);
            }
            assert_eq!(RouteIdentity::of_table(identity.table()), Some(identity));
            assert_eq!(RouteIdentity::of_table(identity.inbound_mark()), None);
        }
        let [one, other] = ["qdt0", "qdt1"].map(RouteIdentity::of);
        assert!(one.default_priority().min(other.default_priority()) > one.networks_priority());
        assert!(one.lan_priority().min(other.lan_priority()) > other.networks_priority());
        assert_eq!(RouteIdentity::of_priority(32_766), None);
        assert_eq!(RouteIdentity::of_priority(0), None);
        assert_eq!(RouteIdentity::of_table(254), None);
    }

    #[test]
    fn the_usual_device_names_do_not_meet() {
        let names = (0..64).map(|number| format!("qdt{number}"));
        let identities: HashSet<_> = names.map(|name| RouteIdentity::of(&name)).collect();
        assert_eq!(identities.len(), 64);
    }
}
