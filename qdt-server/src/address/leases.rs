//! The leases of inner addresses.
//!
//! A lease is *live* while a session has the address, *held* for `session_timeout` after the
//! connection is gone, and *cleaning* while the kernel deletes the former owner's flows; then the
//! address is free. If the deletion fails, it is repeated, and the address goes to a new client
//! only when no other is left. The bearer of a ticket of the same lineage gets a live, held or
//! cleaning address back at once.
//!
//! A **lineage** is a random number drawn with a new lease and kept by every resumption. It keeps
//! an old ticket from taking an address that has a new owner.
//!
//! After a restart no earlier lease is known, because nothing is written to disk (a read-only host
//! works). A ticket then gets its address if it is free, and the pool's cursor moves past it, so
//! that clients without a ticket get addresses beyond those whose owners may still return.
//!
//! The bearer of such a ticket keeps the kernel's flows, and so its connections. But its ticket may
//! be an old one, whose address went to another client before the restart. A ticket of another
//! lineage for the address shows that, and then its flows are deleted.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use qdt_transport::{PoolIndex, SessionUsage};

use super::pool::{AddressPool, Exhausted};

/// The claim of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The bearer's inner address.
    pub index: PoolIndex,
    /// The lineage of its lease.
    pub lineage: u64,
}

/// An address given to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The inner address.
    pub index: PoolIndex,
    /// The lineage for the session's ticket.
    pub lineage: u64,
    /// The session that had the address and must end.
    pub replaces: Option<u64>,
    /// Rises with every grant, so that it orders the grants of an address.
    pub number: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Live { session: u64 },
    Held { until: Instant },
    Cleaning { failed: bool },
}

#[derive(Debug)]
struct Lease {
    lineage: u64,
    state: State,
    /// The use of the session limits, shared by the lineage's sessions.
    usage: SessionUsage,
}

/// The lease of every address that is not free.
#[derive(Debug)]
pub struct Leases {
    pool: AddressPool,
    leases: HashMap<PoolIndex, Lease>,
    hold_time: Duration,
    /// Addresses that this process has granted before.
    granted_before: HashSet<PoolIndex>,
    /// Addresses whose flows may be a former owner's and must be deleted at once.
    dirty: Vec<PoolIndex>,
    /// Cleaning addresses whose flows could not be deleted, the oldest first.
    deferred: VecDeque<PoolIndex>,
    /// Addresses granted by ticket alone, which this process had not granted before.
    unverified: HashSet<PoolIndex>,
    last_number: u64,
}

impl Leases {
    /// Makes leases from `pool` that hold the address of a lost session for `hold_time`.
    #[must_use]
    pub fn new(pool: AddressPool, hold_time: Duration) -> Self {
        Self {
            pool,
            leases: HashMap::new(),
            hold_time,
            granted_before: HashSet::new(),
            dirty: Vec::new(),
            deferred: VecDeque::new(),
            unverified: HashSet::new(),
            last_number: 0,
        }
    }

    /// Grants `session` the claimed address if it is free or of the claim's lineage, else the next
    /// of the pool under `new_lineage`.
    ///
    /// # Errors
    /// [`Exhausted`] if the claim is not valid and no address is left.
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
                if self.granted_before.insert(index) {
                    self.dirty.push(index);
                }
                index
            }
            Err(exhausted) => self.take_deferred().ok_or(exhausted)?,
        };
        self.leases.insert(
            index,
            Lease {
                lineage: new_lineage,
                state: State::Live { session },
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

    /// Takes the address whose deletion failed first; it is repeated for the new owner.
    fn take_deferred(&mut self) -> Option<PoolIndex> {
        let index = self.deferred.pop_front()?;
        self.unverified.remove(&index);
        self.dirty.push(index);
        Some(index)
    }

    fn redeem(&mut self, session: u64, claim: Claim) -> Option<Grant> {
        let replaces = match self.leases.get_mut(&claim.index) {
            Some(lease) if lease.lineage == claim.lineage => {
                let old = std::mem::replace(&mut lease.state, State::Live { session });
                match old {
                    State::Live { session } => Some(session),
                    State::Cleaning { failed: true } => {
                        self.deferred.retain(|other| *other != claim.index);
                        None
                    }
                    State::Held { .. } | State::Cleaning { .. } => None,
                }
            }
            Some(_) => {
                // Two clients had the address before this process: the flows may be of both.
                if self.unverified.remove(&claim.index) {
                    self.dirty.push(claim.index);
                }
                return None;
            }
            None => {
                if !self.pool.take(claim.index) {
                    return None;
                }
                self.pool.advance_past(claim.index);
                if self.granted_before.insert(claim.index) {
                    self.unverified.insert(claim.index);
                }
                self.leases.insert(
                    claim.index,
                    Lease {
                        lineage: claim.lineage,
                        state: State::Live { session },
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
        self.last_number += 1;
        self.last_number
    }

    /// Returns the use of the session limits by the current lineage of `index`, which a resumed
    /// session continues.
    #[must_use]
    pub fn usage(&self, index: PoolIndex) -> SessionUsage {
        let lease = self.leases.get(&index);
        lease.map_or_else(SessionUsage::default, |lease| lease.usage.clone())
    }

    /// Returns whether `claim` replaces a live session, and so needs no slot of its own.
    #[must_use]
    pub fn replaces_live(&self, claim: Claim) -> bool {
        self.leases.get(&claim.index).is_some_and(|lease| {
            lease.lineage == claim.lineage && matches!(lease.state, State::Live { .. })
        })
    }

    /// Returns whether a grant for `claim` would succeed.
    #[must_use]
    pub fn can_grant(&self, claim: Option<Claim>) -> bool {
        self.pool.free() > 0
            || !self.deferred.is_empty()
            || claim.is_some_and(|claim| {
                self.leases
                    .get(&claim.index)
                    .is_some_and(|lease| lease.lineage == claim.lineage)
            })
    }

    /// Holds `index` for `session`, whose connection is gone, until `session_timeout` after
    /// `heard`, its last activity. No effect if another session has the address.
    pub fn hold(&mut self, session: u64, index: PoolIndex, heard: Instant) {
        if let Some(lease) = self.leases.get_mut(&index)
            && matches!(lease.state, State::Live { session: owner } if owner == session)
        {
            lease.state = State::Held {
                until: heard + self.hold_time,
            };
        }
    }

    /// Returns the addresses whose flows are to be deleted because their hold time is over. The
    /// caller passes each to [`release`](Self::release), or after a failure to
    /// [`defer`](Self::defer), which repeats it at the next call.
    pub fn expire(&mut self, now: Instant) -> Vec<PoolIndex> {
        let mut expired: Vec<_> = self
            .leases
            .iter_mut()
            .filter_map(|(index, lease)| match lease.state {
                State::Held { until } if until <= now => {
                    lease.state = State::Cleaning { failed: false };
                    Some(*index)
                }
                State::Cleaning { .. } => Some(*index),
                State::Held { .. } | State::Live { .. } => None,
            })
            .collect();
        expired.sort_unstable();
        expired
    }

    /// Returns `index`, now clean, to the pool unless its bearer has resumed meanwhile.
    pub fn release(&mut self, index: PoolIndex) {
        if matches!(
            self.leases.get(&index),
            Some(Lease {
                state: State::Cleaning { .. },
                ..
            })
        ) {
            self.leases.remove(&index);
            self.deferred.retain(|other| *other != index);
            self.unverified.remove(&index);
            self.pool.release(index);
        }
    }

    /// Keeps `index`, whose flows could not be deleted, for a new client when no other address is
    /// left, unless its bearer has resumed meanwhile.
    pub fn defer(&mut self, index: PoolIndex) {
        if let Some(lease) = self.leases.get_mut(&index)
            && matches!(lease.state, State::Cleaning { failed: false })
        {
            lease.state = State::Cleaning { failed: true };
            self.deferred.push_back(index);
        }
    }

    /// Takes the addresses whose flows may be a former owner's: those of new clients, those with
    /// tickets of two lineages, and those granted although a deletion failed. Each is returned once
    /// per reason.
    pub fn take_dirty(&mut self) -> Vec<PoolIndex> {
        std::mem::take(&mut self.dirty)
    }

    /// Returns the number of addresses held for sessions whose connection is gone.
    #[must_use]
    pub fn held(&self) -> usize {
        self.leases
            .values()
            .filter(|lease| matches!(lease.state, State::Held { .. } | State::Cleaning { .. }))
            .count()
    }

    /// Returns the number of addresses without a lease.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.pool.free()
    }
}
