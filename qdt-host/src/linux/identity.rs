//! The numbers of one client's tunnel: rule priorities, routing table and marks.
//!
//! Rules look up unmarked packets in a table of our own; the transport's sockets set the mark. When
//! the TUN device disappears, the kernel removes its routes, and the remaining rules lead to an
//! empty table.

/// The numbers that identify rules, table and packets of one tunnel.
///
/// They depend on the device's name only, so that a later run finds the leftovers of an earlier
/// one. Two names collide with a probability of 1 in 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteIdentity(u16);

impl RouteIdentity {
    /// The protocol number of our rules and routes (`FRA_PROTOCOL`, `rtm_protocol`), which is free
    /// in `iproute2/etc/iproute2/rt_protos`.
    pub const PROTOCOL: u8 = 113;
    /// The base of tables and marks, to which a number below 4096 is added. The mark bits of
    /// Kubernetes and Docker (0x4000, 0x8000) stay clear.
    const TABLE_BASE: u32 = 0x7164_0000;
    const NUMBERS: u16 = 4096;
    /// The common part of the marks of all tunnels, [`Self::mark`] and [`Self::inbound_mark`].
    pub(in crate::linux) const ANY_MARK: u32 = Self::TABLE_BASE;
    /// The mask of [`Self::ANY_MARK`].
    pub(in crate::linux) const ANY_MASK: u32 = 0xffff_e000;
    /// The bit that distinguishes [`Self::inbound_mark`] from [`Self::mark`].
    pub(in crate::linux) const INBOUND: u32 = 0x1000;
    /// The first priority: before the main table's rule (32766), after the lower priorities that
    /// administrators use. Each tunnel has two priorities for its own networks and, after those of
    /// all tunnels, two for `route_mode: default`, which thus never takes another tunnel's
    /// network.
    const PRIORITY_BASE: u32 = 10_000;
    const DEFAULT_BASE: u32 = Self::PRIORITY_BASE + 2 * Self::NUMBERS as u32;

    /// Returns the numbers of the tunnel of the device `tun`.
    #[must_use]
    pub fn of(tun: &str) -> Self {
        // FNV-1a, folded. Every version of the program must compute the same number.
        let hash = tun.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let folded = (hash >> 12) ^ hash;
        Self(u16::try_from(folded % u32::from(Self::NUMBERS)).expect("below 4096"))
    }

    /// Returns the number of the tunnel's routing table.
    #[must_use]
    pub fn table(self) -> u32 {
        Self::TABLE_BASE + u32::from(self.0)
    }

    /// Returns the mark of the transport's UDP sockets (`SO_MARK`, which needs CAP_NET_ADMIN).
    #[must_use]
    pub fn mark(self) -> u32 {
        self.table()
    }

    /// Returns the mark of connections from outside the tunnel, and of replies to them.
    #[must_use]
    pub fn inbound_mark(self) -> u32 {
        self.table() + Self::INBOUND
    }

    /// Returns the priority of the rules that look up exempt networks in the main table.
    #[must_use]
    pub fn exempt_priority(self) -> u32 {
        Self::PRIORITY_BASE + 2 * u32::from(self.0)
    }

    /// Returns the priority of the rule that looks up unmarked packets in our table, except its
    /// default route.
    #[must_use]
    pub fn networks_priority(self) -> u32 {
        self.exempt_priority() + 1
    }

    /// Returns the priority of the rule that looks up the main table, except its default route.
    #[must_use]
    pub fn lan_priority(self) -> u32 {
        Self::DEFAULT_BASE + 2 * u32::from(self.0)
    }

    /// Returns the priority of the rule that sends all other unmarked packets to the default route
    /// of our table.
    #[must_use]
    pub fn default_priority(self) -> u32 {
        self.lan_priority() + 1
    }

    /// Returns the identity of a routing table, if the table is ours.
    pub(in crate::linux) fn of_table(table: u32) -> Option<Self> {
        let number = u16::try_from(table.checked_sub(Self::TABLE_BASE)?).ok()?;
        (number < Self::NUMBERS).then_some(Self(number))
    }

    /// Returns the identity of a rule's priority, if the priority is ours.
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
