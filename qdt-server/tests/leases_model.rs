//! Leases against a simple model: whatever happens in whatever order, an address has one holder,
//! and passes to another client only after it was kept and cleaned.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use proptest::prelude::*;
use qdt_server::address::{AddressPool, Claim, Leases};
use qdt_transport::PoolIndex;

const KEEP: Duration = Duration::from_secs(100);
/// A /29: five addresses beside the gateway, so that the pool often runs dry.
const HOSTS: u8 = 5;

#[derive(Debug, Clone)]
enum Step {
    /// A newcomer, or the bearer of the ticket that the numbered session got.
    Connect { ticket: Option<usize> },
    /// The connection of the numbered session is lost.
    Lose { session: usize },
    /// Time passes.
    Wait { seconds: u64 },
    /// Expired addresses are found; cleaning them ends only with the next `Clean`.
    Expire,
    /// The kernel has forgotten the expired addresses.
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

/// What the model knows about an address that is not free.
struct Held {
    lineage: u64,
    live: Option<u64>,
    kept_until: Option<Instant>,
    /// Found expired, and nobody came back for it since.
    leaving: bool,
}

proptest! {
    #[test]
    fn an_address_has_one_holder_and_is_kept_and_cleaned_before_the_next(
        steps in proptest::collection::vec(step(), 1..200)
    ) {
        let gateway = [10, 8, 0, 1].into();
        let network: IpNet = "10.8.0.0/29".parse().unwrap();
        let mut leases = Leases::new(AddressPool::new(network, gateway).unwrap(), KEEP);
        let mut now = Instant::now();
        let mut held: HashMap<PoolIndex, Held> = HashMap::new();
        let mut tickets: Vec<Claim> = Vec::new();
        let mut dirty: Vec<PoolIndex> = Vec::new();
        for step in steps {
            match step {
                Step::Connect { ticket } => {
                    let session = tickets.len() as u64 + 1;
                    let claim = ticket.and_then(|index| tickets.get(index).copied());
                    let Ok(grant) = leases.grant(session, claim, session) else {
                        prop_assert_eq!(held.len(), usize::from(HOSTS), "free addresses refused");
                        continue;
                    };
                    let before = held.get(&grant.index);
                    if let Some(before) = before {
                        prop_assert_eq!(Some(before.lineage), claim.map(|claim| claim.lineage));
                    }
                    prop_assert_eq!(grant.replaces, before.and_then(|before| before.live));
                    if let Some(claim) = claim
                        && held.get(&claim.index).is_none_or(|held| held.lineage == claim.lineage)
                    {
                        prop_assert_eq!(grant.index, claim.index, "the bearer's address");
                    }
                    tickets.push(Claim { index: grant.index, lineage: grant.lineage });
                    let lineage = grant.lineage;
                    held.insert(
                        grant.index,
                        Held { lineage, live: Some(session), kept_until: None, leaving: false },
                    );
                }
                Step::Lose { session } => {
                    let Some(ticket) = tickets.get(session) else { continue };
                    let id = session as u64 + 1;
                    leases.park(id, ticket.index, now);
                    if let Some(held) = held.get_mut(&ticket.index)
                        && held.live == Some(id)
                    {
                        held.live = None;
                        held.kept_until = Some(now + KEEP);
                    }
                }
                Step::Wait { seconds } => now += Duration::from_secs(seconds),
                Step::Expire => {
                    dirty = leases.expire(now);
                    for address in &dirty {
                        let held = held.get_mut(address).unwrap();
                        prop_assert!(held.live.is_none() && held.kept_until.unwrap() <= now);
                        held.leaving = true;
                    }
                }
                Step::Clean => {
                    for address in dirty.drain(..) {
                        leases.release(address);
                        if held.get(&address).is_some_and(|held| held.leaving) {
                            held.remove(&address);
                        }
                    }
                }
            }
            prop_assert_eq!(leases.free() as usize, usize::from(HOSTS) - held.len());
        }
    }
}
