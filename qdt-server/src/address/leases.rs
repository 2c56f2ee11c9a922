//! For whom each taken address is held.
//!
//! A lease goes through at most three states: *live* while a session has the address, *parked* for
//! `session_timeout` after its connection is gone, *leaving* while the kernel forgets the flows of
//! the previous owner; then the address is free. One whose flows the kernel did not delete stays
//! leaving, is tried again, and goes to somebody else only when no other address is left. Whoever
//! presents the ticket of the same lineage gets a live, parked or leaving address back at once.
//!
//! A **lineage** is a random number born with a fresh grant and carried on by every resumption. It
//! keeps an old ticket from taking an address that belongs to somebody else by now.
//!
//! After a restart nothing is known about earlier grants (nothing is written to disk, so that a
//! read-only host works). A ticket then gets its address if nobody else has it, and the first such
//! ticket tells that the server was restarted: the cursor passes the redeemed address, so that
//! clients without a ticket are given addresses beyond those that others are coming back for.
//!
//! Such a bearer keeps the flows that the kernel holds for the address, so that its connections
//! live on. But an old ticket may name an address that had gone to another client before the
//! restart. As soon as a ticket of another lineage for the same address shows that, its flows are
//! forgotten.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use qdt_transport::{PoolIndex, SessionUsage};

use super::pool::{AddressPool, Exhausted};

/// What a ticket says about its bearer: the address and the lineage it was granted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The inner address the bearer had.
    pub index: PoolIndex,
    /// The lineage of the grant.
    pub lineage: u64,
}

/// An address given to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The inner address.
    pub index: PoolIndex,
    /// The lineage, to be sealed into the session's ticket.
    pub lineage: u64,
    /// The session that had the address until now and must end.
    pub replaces: Option<u64>,
    /// Rises by one with every grant: of two grants of an address the higher number is the later
    /// one.
    pub number: u64,
}

#[derive(Debug, Clone, Copy)]
enum Holder {
    Live { session: u64 },
    Parked { until: Instant },
    Leaving { uncleaned: bool },
}

#[derive(Debug)]
struct Lease {
    lineage: u64,
    holder: Holder,
    /// What the lineage's sessions have used of their limits.
    usage: SessionUsage,
}

/// Every address that is not free, and its holder.
#[derive(Debug)]
pub struct Leases {
    pool: AddressPool,
    leases: HashMap<PoolIndex, Lease>,
    keep: Duration,
    /// Addresses that this process has seen in use or has cleaned.
    known: HashSet<PoolIndex>,
    /// Whose flows the kernel has to forget, because they may be another client's from before this
    /// process.
    unclean: Vec<PoolIndex>,
    /// Leaving addresses whose flows the kernel did not delete, the longest known first.
    uncleaned: VecDeque<PoolIndex>,
    /// Given back to the bearer of a ticket on its word alone: this process has never seen or
    /// cleaned them.
    unproven: HashSet<PoolIndex>,
    /// The number of the latest grant.
    granted: u64,
}

impl Leases {
    /// Leases from `pool`; the address of a lost session is kept for `keep` (`session_timeout`).
    #[must_use]
    pub fn new(pool: AddressPool, keep: Duration) -> Self {
        Self {
            pool,
            leases: HashMap::new(),
            keep,
            known: HashSet::new(),
            unclean: Vec::new(),
            uncleaned: VecDeque::new(),
            unproven: HashSet::new(),
            granted: 0,
        }
    }

    /// Gives `session` an address: the claimed one if it is free or of the claim's lineage, else
    /// the next of the pool. `new_lineage` names a grant that continues no earlier one.
    ///
    /// # Errors
    /// [`Exhausted`] when the claim does not hold and no address is free.
    pub fn grant(
        &mut self,
        session: u64,
        claim: Option<Claim>,
        new_lineage: u64,
    ) -> Result<Grant, Exhausted> {
        if let Some(claim) = claim
            && let Some(grant) = self.redeem(session, claim)
        {
            return Ok(grant);
        }
        let index = match self.pool.acquire() {
            Ok(index) => {
                if self.known.insert(index) {
                    self.unclean.push(index);
                }
                index
            }
            Err(exhausted) => self.take_uncleaned().ok_or(exhausted)?,
        };
        self.leases.insert(
            index,
            Lease {
                lineage: new_lineage,
                holder: Holder::Live { session },
                usage: SessionUsage::default(),
            },
        );
        Ok(Grant {
            index,
            lineage: new_lineage,
            replaces: None,
            number: self.next_number(),
        })
    }

    /// The address that has waited longest for its flows to be deleted: they are tried again now
    /// that somebody else has it.
    fn take_uncleaned(&mut self) -> Option<PoolIndex> {
        let index = self.uncleaned.pop_front()?;
        self.unproven.remove(&index);
        self.unclean.push(index);
        Some(index)
    }

    fn redeem(&mut self, session: u64, claim: Claim) -> Option<Grant> {
        let replaces = match self.leases.get_mut(&claim.index) {
            Some(lease) if lease.lineage == claim.lineage => {
                let old = std::mem::replace(&mut lease.holder, Holder::Live { session });
                match old {
                    Holder::Live { session } => Some(session),
                    Holder::Leaving { uncleaned: true } => {
                        self.uncleaned.retain(|other| *other != claim.index);
                        None
                    }
                    Holder::Parked { .. } | Holder::Leaving { .. } => None,
                }
            }
            Some(_) => {
                // Two clients had the address before this process: the kernel may hold flows of
                // both.
                if self.unproven.remove(&claim.index) {
                    self.unclean.push(claim.index);
                }
                return None;
            }
            None => {
                if !self.pool.take(claim.index) {
                    return None;
                }
                self.pool.pass(claim.index);
                if self.known.insert(claim.index) {
                    self.unproven.insert(claim.index);
                }
                self.leases.insert(
                    claim.index,
                    Lease {
                        lineage: claim.lineage,
                        holder: Holder::Live { session },
                        usage: SessionUsage::default(),
                    },
                );
                None
            }
        };
        Some(Grant {
            index: claim.index,
            lineage: claim.lineage,
            replaces,
            number: self.next_number(),
        })
    }

    fn next_number(&mut self) -> u64 {
        self.granted += 1;
        self.granted
    }

    /// What the sessions that had `index` in its present lineage have used of their limits:
    /// whoever comes back by a ticket goes on with it.
    #[must_use]
    pub fn usage(&self, index: PoolIndex) -> SessionUsage {
        let lease = self.leases.get(&index);
        lease.map_or_else(SessionUsage::default, |lease| lease.usage.clone())
    }

    /// Whether `claim` would take its address over from a live session, and so needs no new place.
    #[must_use]
    pub fn replaces_live(&self, claim: Claim) -> bool {
        self.leases.get(&claim.index).is_some_and(|lease| {
            lease.lineage == claim.lineage && matches!(lease.holder, Holder::Live { .. })
        })
    }

    /// Whether a grant for `claim` would find an address.
    #[must_use]
    pub fn can_grant(&self, claim: Option<Claim>) -> bool {
        self.pool.free() > 0
            || !self.uncleaned.is_empty()
            || claim.is_some_and(|claim| {
                self.leases
                    .get(&claim.index)
                    .is_some_and(|lease| lease.lineage == claim.lineage)
            })
    }

    /// The connection of `session` is gone: its address is kept until `heard`, the moment of its
    /// last sign of life, + `session_timeout`. A session whose address has moved on to another
    /// session changes nothing.
    pub fn park(&mut self, session: u64, index: PoolIndex, heard: Instant) {
        if let Some(lease) = self.leases.get_mut(&index)
            && matches!(lease.holder, Holder::Live { session: holder } if holder == session)
        {
            lease.holder = Holder::Parked {
                until: heard + self.keep,
            };
        }
    }

    /// Addresses whose time is over. Each must be cleaned up in the kernel (conntrack) and then
    /// handed to [`release`](Self::release), or to [`keep_uncleaned`](Self::keep_uncleaned) where
    /// the kernel refused; it is named again then.
    pub fn expire(&mut self, now: Instant) -> Vec<PoolIndex> {
        let mut expired: Vec<_> = self
            .leases
            .iter_mut()
            .filter_map(|(index, lease)| match lease.holder {
                Holder::Parked { until } if until <= now => {
                    lease.holder = Holder::Leaving { uncleaned: false };
                    Some(*index)
                }
                Holder::Leaving { .. } => Some(*index),
                Holder::Parked { .. } | Holder::Live { .. } => None,
            })
            .collect();
        expired.sort_unstable();
        expired
    }

    /// `index` is clean: it returns to the pool unless its bearer came back meanwhile.
    pub fn release(&mut self, index: PoolIndex) {
        if matches!(
            self.leases.get(&index),
            Some(Lease {
                holder: Holder::Leaving { .. },
                ..
            })
        ) {
            self.leases.remove(&index);
            self.uncleaned.retain(|other| *other != index);
            self.unproven.remove(&index);
            self.pool.release(index);
        }
    }

    /// The flows of `index` could not be deleted: it is given out only when no other is left,
    /// unless its bearer came back meanwhile.
    pub fn keep_uncleaned(&mut self, index: PoolIndex) {
        if let Some(lease) = self.leases.get_mut(&index)
            && matches!(lease.holder, Holder::Leaving { uncleaned: false })
        {
            lease.holder = Holder::Leaving { uncleaned: true };
            self.uncleaned.push_back(index);
        }
    }

    /// Addresses that somebody has who may not be the one that had them in an earlier server
    /// process: newcomers', and those for which tickets of two lineages were shown. The kernel's
    /// flows of those must be forgotten. Every address is named once at most for that; one that was
    /// given out although its flows could not be deleted is named again.
    pub fn take_unclean(&mut self) -> Vec<PoolIndex> {
        std::mem::take(&mut self.unclean)
    }

    /// Addresses held for sessions whose connection is gone.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.leases
            .values()
            .filter(|lease| matches!(lease.holder, Holder::Parked { .. } | Holder::Leaving { .. }))
            .count()
    }

    /// Addresses that nobody holds.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.pool.free()
    }
}
