//! Notifications of changes of the host's network.
//!
//! Invariants: a [`Watch`] never fails permanently. Without a subscription, or after the kernel
//! dropped events, it reports [`Changes::ALL`], at the latest every few seconds, so a program that
//! checks the host at each report needs no events. A burst of events gives one report, and reports
//! are rate-limited, so a check that itself changes the host cannot become a busy loop.

use std::future::Future;

/// The parts of the host that may have changed since the last report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// An interface appeared, disappeared or changed: state, MTU, name, or an IPv4 parameter
    /// (`rp_filter`, `forwarding`).
    pub links: bool,
    /// An address of either family was added or removed.
    pub addresses: bool,
    /// A route of either family was added or removed, in any table.
    pub routes: bool,
    /// A policy routing rule of either family was added or removed.
    pub rules: bool,
    /// The nftables ruleset changed.
    pub firewall: bool,
}

impl Changes {
    /// Nothing.
    pub const NONE: Self = Self {
        links: false,
        addresses: false,
        routes: false,
        rules: false,
        firewall: false,
    };

    /// Everything: events were lost, or the interval for a check without events is over.
    pub const ALL: Self = Self {
        links: true,
        addresses: true,
        routes: true,
        rules: true,
        firewall: true,
    };

    /// Returns whether nothing changed.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Returns the changes in `self`, in `other` or in both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            links: self.links | other.links,
            addresses: self.addresses | other.addresses,
            routes: self.routes | other.routes,
            rules: self.rules | other.rules,
            firewall: self.firewall | other.firewall,
        }
    }
}

/// Reports that the host's network changed; the control side then checks the host.
pub trait Watch: Send {
    /// Completes once something changed or a periodic check is due; the result is never empty.
    /// Cancel-safe: the next call reports the changes that a dropped one had collected.
    fn changed(&mut self) -> impl Future<Output = Changes> + Send;
}
