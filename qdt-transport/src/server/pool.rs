//! A server's inner addresses as indices into its pool.
//!
//! Invariant: indices and addresses of the pool map one to one. State per client is kept by index
//! and does not know the address family; only this file and the edges do: packets, texts, tickets
//! and requests to the kernel.

use std::net::IpAddr;

use ipnet::IpNet;

/// The position of an inner address in its pool; 0 is the network's own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolIndex(pub u32);

impl PoolIndex {
    pub(super) fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// The addresses of one IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    first: u32,
    /// The largest index.
    last: u32,
}

impl Pool {
    /// Returns the pool of all addresses of `network`, the network's own and its broadcast address
    /// included; `None` for an IPv6 network.
    #[must_use]
    pub fn new(network: IpNet) -> Option<Self> {
        let IpNet::V4(network) = network else {
            return None;
        };
        let first = network.network().to_bits();
        Some(Self {
            first,
            last: network.broadcast().to_bits() - first,
        })
    }

    /// Returns the largest index.
    #[must_use]
    pub fn last(self) -> PoolIndex {
        PoolIndex(self.last)
    }

    /// Returns the index of `address`, if the pool has it.
    #[inline]
    #[must_use]
    pub fn index(self, address: IpAddr) -> Option<PoolIndex> {
        let IpAddr::V4(address) = address else {
            return None;
        };
        let index = address.to_bits().wrapping_sub(self.first);
        (index <= self.last).then_some(PoolIndex(index))
    }

    /// Returns the address of `index`, which is outside the pool beyond [`last`](Self::last).
    #[must_use]
    pub fn address(self, index: PoolIndex) -> IpAddr {
        self.first.wrapping_add(index.0).to_be_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(network: &str) -> Option<Pool> {
        Pool::new(network.parse().expect("a network"))
    }

    #[test]
    fn indices_and_addresses_of_the_pool_map_one_to_one() {
        let pool = pool("10.8.0.77/24").expect("IPv4");
        assert_eq!(pool.last(), PoolIndex(255));
        for last in [0, 7, 255] {
            let address = IpAddr::from([10, 8, 0, last]);
            assert_eq!(pool.index(address), Some(PoolIndex(last.into())));
            assert_eq!(pool.address(PoolIndex(last.into())), address);
        }
        for other in [
            "10.8.1.7",
            "10.7.255.7",
            "0.0.0.0",
            "255.255.255.255",
            "::ffff:10.8.0.7",
        ] {
            assert_eq!(pool.index(other.parse().expect("an address")), None);
        }
    }

    #[test]
    fn a_pool_of_all_addresses_includes_the_last_one() {
        let pool = pool("0.0.0.0/0").expect("IPv4");
        assert_eq!(pool.index([255; 4].into()), Some(pool.last()));
    }

    #[test]
    fn an_ipv6_network_is_not_a_pool() {
        assert_eq!(pool("fd00::/112"), None);
    }
}
