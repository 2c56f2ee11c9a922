//! Notices that the host's network changed.
//!
//! Invariants: a [`Watch`] never fails for good. Where the kernel cannot be listened to, or has
//! dropped events, it reports [`Changes::ALL`], at the latest every few seconds: whoever checks the
//! host at each report finds what is missing with or without events. A burst of events is one
//! report, and reports keep a distance, so a check that itself changes the host cannot become a
//! busy loop.

use std::future::Future;

/// What may have changed since the last report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// An interface appeared, disappeared or changed: state, MTU, name, or an IPv4 switch of it
    /// (`rp_filter`, `forwarding`).
    pub links: bool,
    /// An address of either family came or went.
    pub addresses: bool,
    /// A route of either family came or went, in any table.
    pub routes: bool,
    /// A policy routing rule of either family came or went.
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

    /// Everything: events were lost, or it is time to check without one.
    pub const ALL: Self = Self {
        links: true,
        addresses: true,
        routes: true,
        rules: true,
        firewall: true,
    };

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Returns what is in `self`, in `other` or in both.
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

/// Reports that the host's network changed. The control side checks the host then.
pub trait Watch: Send {
    /// Completes once something changed or it is time to check anyway; the result is never empty.
    /// Dropping the future loses nothing: the next call reports what this one had gathered.
    fn changed(&mut self) -> impl Future<Output = Changes> + Send;
}
