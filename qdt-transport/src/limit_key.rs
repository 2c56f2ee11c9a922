//! The part of a peer's address that limits count by: an IPv4 address or an IPv6 /64, and the
//! networks around it.
//!
//! A single host or site owns many such keys: an IPv6 customer gets a /56 or a /48 (RFC 6177), with
//! 256 or 65,536 networks of 64 bits. So limits count those networks too, with larger bounds.
//!
//! Invariant: an IPv4-mapped IPv6 address, as a dual-stack socket shows it, has the key of the IPv4
//! address.

use std::net::IpAddr;

use ipnet::IpNet;

/// The size of the network that a [`LimitKey`] covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// An IPv4 address (/32), or an IPv6 /64, within which a peer may choose addresses at will (RFC
    /// 4291 section 2.5.4).
    Host,
    /// An IPv6 /56: the usual allocation of a household.
    Subscriber,
    /// An IPv6 /48, the usual allocation of a company, or an IPv4 /24, the longest prefix that is
    /// routed globally.
    Site,
}

/// A network that limits count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitKey {
    network: IpAddr,
    reach: Reach,
}

impl LimitKey {
    /// Returns the size of the network.
    #[must_use]
    pub fn reach(self) -> Reach {
        self.reach
    }

    /// Returns whether it is an IPv4 network.
    #[must_use]
    pub fn is_ipv4(self) -> bool {
        self.network.is_ipv4()
    }

    /// Iterates over the key and the wider networks around it, narrowest first.
    pub fn networks(self) -> impl Iterator<Item = Self> {
        let wider = [Reach::Subscriber, Reach::Site].map(|reach| Self::new(self.network, reach));
        [Some(self)].into_iter().chain(wider).flatten()
    }

    fn new(address: IpAddr, reach: Reach) -> Option<Self> {
        let address = address.to_canonical();
        let prefix_len = match (address, reach) {
            (IpAddr::V4(_), Reach::Host) => 32,
            (IpAddr::V4(_), Reach::Subscriber) => return None,
            (IpAddr::V4(_), Reach::Site) => 24,
            (IpAddr::V6(_), Reach::Host) => 64,
            (IpAddr::V6(_), Reach::Subscriber) => 56,
            (IpAddr::V6(_), Reach::Site) => 48,
        };
        let network = IpNet::new_assert(address, prefix_len).network();
        Some(Self { network, reach })
    }
}

impl From<IpAddr> for LimitKey {
    fn from(address: IpAddr) -> Self {
        Self::new(address, Reach::Host).expect("every address is a host's")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(address: &str) -> Vec<(String, Reach)> {
        LimitKey::from(address.parse::<IpAddr>().expect("an address"))
            .networks()
            .map(|key| (key.network.to_string(), key.reach()))
            .collect()
    }

    #[test]
    fn an_address_counts_by_itself_and_by_the_usual_allocations_around_it() {
        assert_eq!(
            networks("2001:db8:1:2345:6:7:8:9"),
            [
                ("2001:db8:1:2345::".into(), Reach::Host),
                ("2001:db8:1:2300::".into(), Reach::Subscriber),
                ("2001:db8:1::".into(), Reach::Site),
            ]
        );
        let v4 = [
            ("192.0.2.7".into(), Reach::Host),
            ("192.0.2.0".into(), Reach::Site),
        ];
        assert_eq!(networks("192.0.2.7"), v4);
        assert_eq!(networks("::ffff:192.0.2.7"), v4);
    }

    #[test]
    fn networks_of_one_address_and_different_sizes_are_different_keys() {
        let keys: std::collections::HashSet<_> =
            LimitKey::from("2001:db8::".parse::<IpAddr>().expect("an address"))
                .networks()
                .collect();
        assert_eq!(keys.len(), 3);
    }
}
