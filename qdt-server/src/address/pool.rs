//! The allocator of the inner addresses of one network.
//!
//! Addresses are allocated round robin from the first host, as in Go: a released one comes again
//! after a full round. The network, broadcast and gateway addresses are never allocated.

use std::net::IpAddr;

use ipnet::IpNet;
use qdt_transport::{Pool, PoolIndex};

/// Why a network cannot serve as a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Inner packets are IPv4 only.
    #[error("only ipv4 supported for pool")]
    NotIpv4,
    /// A pool needs room for the gateway and one client: a /30 is the smallest.
    #[error("cidr too small")]
    TooSmall,
}

/// No address is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("address pool exhausted")]
pub struct Exhausted;

/// Taken and free addresses of one IPv4 network.
///
/// It has one bit per address: 2 MiB for a /8, of which only used pages take memory.
#[derive(Debug)]
pub struct AddressPool {
    pool: Pool,
    taken: Vec<u64>,
    /// The index at which the search starts.
    cursor: u32,
    free: u32,
}

impl AddressPool {
    /// Makes the pool of `network` (host bits are ignored) and reserves `gateway` if it is inside.
    ///
    /// # Errors
    /// [`PoolError`] for an IPv6 network and for one smaller than a /30.
    pub fn new(network: IpNet, gateway: IpAddr) -> Result<Self, PoolError> {
        let pool = Pool::new(network).ok_or(PoolError::NotIpv4)?;
        let PoolIndex(last) = pool.last();
        if last < 3 {
            return Err(PoolError::TooSmall);
        }
        let mut addresses = Self {
            pool,
            taken: vec![0; last as usize / 64 + 1],
            cursor: 1,
            free: last - 1,
        };
        if let Some(gateway) = pool.index(gateway) {
            addresses.take(gateway);
        }
        Ok(addresses)
    }

    /// Returns the mapping between addresses and indices.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.pool
    }

    /// Returns the number of free addresses.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Takes the next free address.
    ///
    /// # Errors
    /// [`Exhausted`] if none is free.
    pub fn acquire(&mut self) -> Result<PoolIndex, Exhausted> {
        if self.free == 0 {
            return Err(Exhausted);
        }
        let last = self.last_host();
        let offset = self
            .first_free(self.cursor, last)
            .or_else(|| self.first_free(1, self.cursor.saturating_sub(1)))
            .ok_or(Exhausted)?;
        self.set(offset, true);
        self.cursor = if offset == last { 1 } else { offset + 1 };
        Ok(PoolIndex(offset))
    }

    /// Takes `index` if it is a free host of the network; returns whether it was.
    pub fn take(&mut self, index: PoolIndex) -> bool {
        match self.host(index) {
            Some(offset) if !self.get(offset) => {
                self.set(offset, true);
                true
            }
            _ => false,
        }
    }

    /// Moves the cursor past `index` unless it is already there.
    ///
    /// A ticket shows that the address was in use before the server started: clients without one
    /// then get addresses that no returning client will claim.
    pub fn advance_past(&mut self, index: PoolIndex) {
        if let Some(offset) = self.host(index)
            && offset >= self.cursor
        {
            let last = self.last_host();
            self.cursor = if offset == last { 1 } else { offset + 1 };
        }
    }

    /// Releases `index` if it is taken.
    pub fn release(&mut self, index: PoolIndex) {
        if let Some(offset) = self.host(index)
            && self.get(offset)
        {
            self.set(offset, false);
        }
    }

    /// Returns the last index before the broadcast address.
    fn last_host(&self) -> u32 {
        self.pool.last().0 - 1
    }

    /// Returns the bit of a host address; `None` for an index that is never allocated.
    fn host(&self, PoolIndex(index): PoolIndex) -> Option<u32> {
        (1..=self.last_host()).contains(&index).then_some(index)
    }

    fn get(&self, offset: u32) -> bool {
        self.taken[offset as usize / 64] >> (offset % 64) & 1 == 1
    }

    fn set(&mut self, offset: u32, taken: bool) {
        let bit = 1 << (offset % 64);
        if taken {
            self.taken[offset as usize / 64] |= bit;
            self.free -= 1;
        } else {
            self.taken[offset as usize / 64] &= !bit;
            self.free += 1;
        }
    }

    /// Returns the first free offset in `from..=to`; checks a word of 64 at a time.
    fn first_free(&self, from: u32, to: u32) -> Option<u32> {
        let mut offset = from;
        while offset <= to {
            let word = !self.taken[offset as usize / 64] >> (offset % 64);
            if word != 0 {
                let found = offset + word.trailing_zeros();
                return (found <= to).then_some(found);
            }
            offset = (offset / 64 + 1).checked_mul(64)?;
        }
        None
    }
}
