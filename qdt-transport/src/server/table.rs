//! The owner of each inner address: one atomic word per address of the pool.
//!
//! A lookup is one load (two for the page); it takes no lock and never waits. Pages of 4096
//! addresses are allocated with their first session, so that a pool of 16 million addresses costs
//! only what it uses. Only the worker of a session writes its entry, and clears it only while the
//! entry is still its own.
//!
//! Invariant: of two sessions granted the same address, the later grant has the entry, in whichever
//! order their workers write it. Grants are numbered where they are made; the word has the lower
//! half of the number.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sessions::SessionKey;

use super::pool::PoolIndex;

const PAGE: usize = 4096;
const VALID: u64 = 1 << 63;

/// The most workers of a server, as a location has seven bits for them.
pub const MAX_WORKERS: usize = 1 << 7;
/// The most sessions of one worker, as a location has 24 bits for them.
pub(super) const MAX_SESSIONS: usize = 1 << 24;

/// The place of a session: its worker, its key there, and the lower half of its grant's number,
/// which distinguishes it from a later user of the key and orders two grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) worker: usize,
    pub(super) key: SessionKey,
    tag: u32,
}

impl Location {
    pub(super) fn new(worker: usize, key: SessionKey, grant: u64) -> Self {
        Self {
            worker,
            key,
            tag: grant as u32,
        }
    }

    fn pack(self) -> u64 {
        debug_assert!(self.worker < MAX_WORKERS && (self.key.0 as usize) < MAX_SESSIONS);
        VALID | (self.worker as u64) << 56 | u64::from(self.key.0) << 32 | u64::from(self.tag)
    }

    /// Returns whether this grant is later than `other`. Numbers may wrap: two grants that meet
    /// here are never two thousand million apart.
    fn is_later_than(self, other: Self) -> bool {
        self.tag.wrapping_sub(other.tag) as i32 > 0
    }

    fn unpack(word: u64) -> Option<Self> {
        (word & VALID != 0).then_some(Self {
            worker: (word >> 56 & 0x7f) as usize,
            key: SessionKey((word >> 32 & 0xff_ffff) as u32),
            tag: word as u32,
        })
    }
}

#[derive(Debug)]
pub(super) struct AddressTable {
    pages: Vec<OnceLock<Box<[AtomicU64]>>>,
}

impl AddressTable {
    /// Returns a table for the addresses up to `last`.
    pub(super) fn new(last: PoolIndex) -> Self {
        Self {
            pages: (0..=last.as_usize() / PAGE)
                .map(|_| OnceLock::new())
                .collect(),
        }
    }

    /// Returns the session that owns the address `index`.
    pub(super) fn get(&self, index: PoolIndex) -> Option<Location> {
        let index = index.as_usize();
        let page = self.pages[index / PAGE].get()?;
        Location::unpack(page[index % PAGE].load(Ordering::Acquire))
    }

    /// Assigns the address `index` to a session, unless a later grant has it.
    pub(super) fn set(&self, index: PoolIndex, location: Location) {
        let index = index.as_usize();
        let page =
            self.pages[index / PAGE].get_or_init(|| (0..PAGE).map(|_| AtomicU64::new(0)).collect());
        // Refused if a later grant was first; its worker ends this session.
        let _ = page[index % PAGE].fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            Location::unpack(word)
                .is_none_or(|present| location.is_later_than(present))
                .then(|| location.pack())
        });
    }

    /// Releases the address `index` of a session, unless another one has it by now.
    pub(super) fn clear(&self, index: PoolIndex, location: Location) {
        let index = index.as_usize();
        if let Some(page) = self.pages[index / PAGE].get() {
            let _ = page[index % PAGE].compare_exchange(
                location.pack(),
                0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(worker: usize, key: u32, grant: u64) -> Location {
        Location::new(worker, SessionKey(key), grant)
    }

    #[test]
    fn a_lookup_returns_the_session_of_the_address_only() {
        let table = AddressTable::new(PoolIndex(255));
        let address = PoolIndex(7);
        assert_eq!(table.get(address), None);
        let location = at(127, MAX_SESSIONS as u32 - 1, u64::MAX);
        table.set(address, location);
        assert_eq!(table.get(address), Some(location));
        for other in [0, 6, 8, 255] {
            assert_eq!(table.get(PoolIndex(other)), None);
        }
    }

    #[test]
    fn a_replaced_session_does_not_clear_its_successors_entry() {
        let table = AddressTable::new(PoolIndex((1 << 24) - 1));
        let address = PoolIndex(0xc8_0304);
        table.set(address, at(0, 1, 1));
        table.set(address, at(1, 1, 2));
        table.clear(address, at(0, 1, 1));
        assert_eq!(table.get(address), Some(at(1, 1, 2)));
        table.clear(address, at(1, 1, 2));
        assert_eq!(table.get(address), None);
    }

    #[test]
    fn the_later_of_two_grants_has_the_address_in_either_order() {
        let address = PoolIndex(7);
        for first in [1, u64::from(u32::MAX), u64::MAX] {
            let (earlier, later) = (at(0, 5, first), at(1, 5, first.wrapping_add(1)));
            for order in [[earlier, later], [later, earlier]] {
                let table = AddressTable::new(PoolIndex(255));
                order
                    .iter()
                    .for_each(|location| table.set(address, *location));
                assert_eq!(table.get(address), Some(later));
                table.clear(address, earlier);
                assert_eq!(table.get(address), Some(later));
            }
        }
    }

    #[test]
    fn concurrent_grants_leave_the_latest_one() {
        const GRANTS: u64 = 10_000;
        const WORKERS: u64 = 4;
        let table = AddressTable::new(PoolIndex(255));
        let address = PoolIndex(7);
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let table = &table;
                scope.spawn(move || {
                    for grant in (worker..GRANTS).step_by(WORKERS as usize) {
                        table.set(address, at(worker as usize, 1, grant));
                    }
                });
            }
        });
        let last = GRANTS - 1;
        assert_eq!(
            table.get(address),
            Some(at((last % WORKERS) as usize, 1, last))
        );
    }
}
