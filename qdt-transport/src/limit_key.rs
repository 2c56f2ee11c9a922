//! What limits on strangers count by: one IPv4 address or one IPv6 network of 64 bits, and the
//! networks around it.
//!
//! Whoever rents one network has many such keys: an IPv6 customer is given a /56 or a /48 (RFC
//! 6177), with 256 or 65,536 networks of 64 bits. What is counted by the key alone is therefore
//! counted by those networks too, with larger bounds.
//!
//! What always holds: an IPv4 address that is mapped into IPv6, as a dual-stack socket shows it, is
//! the same key as the address itself.

use std::net::IpAddr;

use ipnet::IpNet;

/// How much a [`LimitKey`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// An IPv4 address (/32), or an IPv6 /64, within which a peer may choose addresses at will
    /// (RFC 4291 section 2.5.4).
    Host,
    /// An IPv6 /56: what a household is given.
    Subscriber,
    /// An IPv6 /48: what a company is given; or an IPv4 /24, the smallest network that is routed by
    /// itself.
    Site,
}

/// The part of a peer's address that limits count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitKey {
    network: IpAddr,
    reach: Reach,
}

impl LimitKey {
    /// How much the key stands for.
    #[must_use]
    pub fn reach(self) -> Reach {
        self.reach
    }

    /// Whether it is an IPv4 network.
    #[must_use]
    pub fn is_ipv4(self) -> bool {
        self.network.is_ipv4()
    }

    /// The key itself and the wider networks around it, from the narrowest on.
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
    fn an_address_is_counted_by_itself_and_by_the_networks_that_one_customer_is_given() {
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
    fn networks_of_different_size_with_one_address_are_different_keys() {
        let keys: std::collections::HashSet<_> =
            LimitKey::from("2001:db8::".parse::<IpAddr>().expect("an address"))
                .networks()
                .collect();
        assert_eq!(keys.len(), 3);
    }
}
