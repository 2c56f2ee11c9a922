//! A server's inner addresses as numbers: the pool maps an address to its index and back.
//!
//! Invariants: an index of the pool is an address of the pool, and the other way round. Whatever
//! keeps something per client keeps it by index and does not know the address family; that is known
//! here and at the edges: in packets, texts, tickets and what the kernel is asked.

use std::net::Ipv4Addr;

/// The position of an inner address in its pool; 0 is the network's own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolIndex(pub u32);

impl PoolIndex {
    pub(super) fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// The addresses of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    first: u32,
    /// The last index.
    last: u32,
}

impl Pool {
    /// The addresses `first` to `last`, both included: the network's and its broadcast address.
    #[must_use]
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Self {
        Self {
            first: first.to_bits(),
            last: last.to_bits().saturating_sub(first.to_bits()),
        }
    }

    /// Returns the largest index.
    #[must_use]
    pub fn last(self) -> PoolIndex {
        PoolIndex(self.last)
    }

    /// Returns the index of `address`, if the pool has it.
    #[inline]
    #[must_use]
    pub fn index(self, address: Ipv4Addr) -> Option<PoolIndex> {
        let index = address.to_bits().wrapping_sub(self.first);
        (index <= self.last).then_some(PoolIndex(index))
    }

    /// Returns the address of `index`. One beyond [`last`](Self::last) has no address of the pool.
    #[must_use]
    pub fn address(self, index: PoolIndex) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.wrapping_add(index.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_pool_has_an_index_that_leads_back_to_it_and_no_other_address_has_one() {
        let pool = Pool::new(Ipv4Addr::new(10, 8, 0, 0), Ipv4Addr::new(10, 8, 0, 255));
        for last in [0, 7, 255] {
            let address = Ipv4Addr::new(10, 8, 0, last);
            assert_eq!(pool.index(address), Some(PoolIndex(last.into())));
            assert_eq!(pool.address(PoolIndex(last.into())), address);
        }
        for other in [
            [10, 8, 1, 7],
            [10, 7, 255, 7],
            [0, 0, 0, 0],
            [255, 255, 255, 255],
        ] {
            assert_eq!(pool.index(other.into()), None);
        }
    }

    #[test]
    fn a_pool_of_all_addresses_has_the_last_of_them() {
        let pool = Pool::new(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        assert_eq!(pool.index(Ipv4Addr::BROADCAST), Some(pool.last()));
    }
}
