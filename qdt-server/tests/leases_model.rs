//! Leases against a model: in any sequence of events an address has one owner, and goes to another
//! client only after it was held and cleaned.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use proptest::prelude::*;
use qdt_server::address::{AddressPool, Claim, Leases};
use qdt_transport::PoolIndex;

const KEEP: Duration = Duration::from_secs(100);
/// Clients of a /29, so few that the pool is often exhausted.
const HOSTS: u8 = 5;

#[derive(Debug, Clone)]
enum Step {
    /// A new client, or the bearer of the numbered session's ticket, connects.
    Connect { ticket: Option<usize> },
    /// The connection of the numbered session is lost.
    Lose { session: usize },
    /// Time passes.
    Wait { seconds: u64 },
    /// Expired addresses are collected; their cleaning ends with the next `Clean`.
    Expire,
    /// The flows of the expired addresses are deleted.
    Clean,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::option::of(0..40usize).prop_map(|ticket| Step::Connect { ticket }),
        3 => (0..40usize).prop_map(|session| Step::Lose { session }),
        2 => (1..80u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Expire),
        1 => Just(Step::Clean),
    ]
}

/// The model of a lease.
struct Lease {
    lineage: u64,
    live: Option<u64>,
    held_until: Option<Instant>,
    /// Expired, and not resumed since.
    cleaning: bool,
}

proptest! {
    #[test]
    fn an_address_has_one_owner_and_is_held_and_cleaned_before_the_next(
        steps in proptest::collection::vec(step(), 1..200)
    ) {
        let gateway = [10, 8, 0, 1].into();
        let network: IpNet = "10.8.0.0/29".parse().unwrap();
        let mut leases = Leases::new(AddressPool::new(network, gateway).unwrap(), KEEP);
        let mut now = Instant::now();
        let mut leased: HashMap<PoolIndex, Lease> = HashMap::new();
        let mut tickets: Vec<Claim> = Vec::new();
        let mut dirty: Vec<PoolIndex> = Vec::new();
        for step in steps {
            match step {
                Step::Connect { ticket } => {
                    let session = tickets.len() as u64 + 1;
                    let claim = ticket.and_then(|index| tickets.get(index).copied());
                    let Ok(grant) = leases.grant(session, claim, session) else {
                        prop_assert_eq!(leased.len(), usize::from(HOSTS), "free addresses refused");
                        continue;
                    };
                    let before = leased.get(&grant.index);
                    if let Some(before) = before {
                        prop_assert_eq!(Some(before.lineage), claim.map(|claim| claim.lineage));
                    }
                    prop_assert_eq!(grant.replaces, before.and_then(|before| before.live));
                    if let Some(claim) = claim
                        && leased.get(&claim.index).is_none_or(|lease| lease.lineage == claim.lineage)
                    {
                        prop_assert_eq!(grant.index, claim.index, "the bearer's address");
                    }
                    tickets.push(Claim { index: grant.index, lineage: grant.lineage });
                    let lineage = grant.lineage;
                    leased.insert(
                        grant.index,
                        Lease { lineage, live: Some(session), held_until: None, cleaning: false },
                    );
                }
                Step::Lose { session } => {
                    let Some(ticket) = tickets.get(session) else { continue };
                    let id = session as u64 + 1;
                    leases.hold(id, ticket.index, now);
                    if let Some(lease) = leased.get_mut(&ticket.index)
                        && lease.live == Some(id)
                    {
                        lease.live = None;
                        lease.held_until = Some(now + KEEP);
                    }
                }
                Step::Wait { seconds } => now += Duration::from_secs(seconds),
                Step::Expire => {
                    dirty = leases.expire(now);
                    for address in &dirty {
                        let lease = leased.get_mut(address).unwrap();
                        prop_assert!(lease.live.is_none() && lease.held_until.unwrap() <= now);
                        lease.cleaning = true;
                    }
                }
                Step::Clean => {
                    for address in dirty.drain(..) {
                        leases.release(address);
                        if leased.get(&address).is_some_and(|lease| lease.cleaning) {
                            leased.remove(&address);
                        }
                    }
                }
            }
            prop_assert_eq!(leases.free() as usize, usize::from(HOSTS) - leased.len());
        }
    }
}
