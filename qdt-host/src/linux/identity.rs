//! The numbers of one client's tunnel: its policy rules, its routing table, its marks.
//!
//! Traffic is looked up in a table of our own by rules that spare whatever carries the tunnel's
//! mark, which the tunnel's own sockets set. When the TUN device disappears, its routes disappear
//! with it and the rules that stay behind lead to an empty table.

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
    pub(in crate::linux) const ANY_MARK: u32 = Self::TABLE_BASE;
    /// The bits of a mark that make [`Self::ANY_MARK`].
    pub(in crate::linux) const ANY_MASK: u32 = 0xffff_e000;
    /// The bit by which [`Self::inbound_mark`] differs from [`Self::mark`].
    pub(in crate::linux) const INBOUND: u32 = 0x1000;
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
    pub fn exempt_priority(self) -> u32 {
        Self::PRIORITY_BASE + 2 * u32::from(self.0)
    }

    /// The priority of the rule that sends what is not marked to the networks in our table; only
    /// its default route is left out.
    #[must_use]
    pub fn networks_priority(self) -> u32 {
        self.exempt_priority() + 1
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
    pub(in crate::linux) fn of_table(table: u32) -> Option<Self> {
        let number = u16::try_from(table.checked_sub(Self::TABLE_BASE)?).ok()?;
        (number < Self::NUMBERS).then_some(Self(number))
    }

    /// The identity that a rule of this priority belongs to, if it is one of ours.
    pub(in crate::linux) fn of_priority(priority: u32) -> Option<Self> {
        let number = priority.checked_sub(Self::PRIORITY_BASE)? / 2;
        let number = u16::try_from(number).ok()?;
        (number < 2 * Self::NUMBERS).then_some(Self(number % Self::NUMBERS))
    }
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
                RouteIdentity::of_priority(identity.exempt_priority()),
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
