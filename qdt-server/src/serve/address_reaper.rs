//! The task that deletes the conntrack entries ("flows") of an inner address between two owners.
//!
//! Within one run of the server, an address whose `session_timeout` is over returns to the pool
//! only after its flows are deleted. Flows from before this run are deleted when the address is
//! first granted to a new client; a client that resumes by ticket keeps its flows, and so its
//! connections, unless another client shows a ticket for the same address.
//!
//! The conntrack socket is opened at the start, so that a process without free descriptors can use
//! it. A failed deletion is repeated every second; such an address is granted as a last resort.

use std::sync::Arc;
use std::time::{Duration, Instant};

use qdt_host::Conntrack;
use qdt_transport::{Pool, PoolIndex};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::status::HostStatus;
use crate::admission::AdmissionController;

/// How often expired addresses are collected.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a deletion for new clients, as a multiple of its duration. A walk over the
/// kernel's flows costs the same for one address as for a thousand, so a connection burst costs 2 %
/// of a core.
const PAUSE_FACTOR: u32 = 50;
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Attempts to delete the flows of an address that a new client already has; later ones would more
/// likely hit that client's own flows.
const MAX_ATTEMPTS: u32 = 3;

/// Cleans the addresses of `admission` forever.
pub(super) async fn run<C: Conntrack>(
    admission: Arc<AdmissionController>,
    status: Arc<HostStatus>,
    flows: C,
) {
    let cleaner = FlowCleaner {
        pool: admission.pool(),
        flows,
        status,
    };
    let mut tick = tokio::time::interval(EXPIRY_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut dirty = DirtyFlows::default();
    let mut paused_until = Instant::now();
    loop {
        let new_session = async {
            tokio::time::sleep_until(paused_until.into()).await;
            if dirty.is_empty() {
                admission.wait_for_session().await;
            }
        };
        tokio::select! {
            _ = tick.tick() => {
                let expired = admission.expire_addresses(Instant::now());
                let clean = cleaner.delete_flows(&expired).await;
                for address in expired {
                    if clean {
                        admission.release_address(address);
                    } else {
                        admission.defer_address(address);
                    }
                }
            }
            () = new_session => {
                let started = Instant::now();
                dirty.add(admission.take_dirty_addresses());
                let clean = cleaner.delete_flows(&dirty.addresses()).await;
                dirty.record_attempt(clean);
                let now = Instant::now();
                paused_until = now + if clean { pause_after(now - started) } else { MAX_PAUSE };
            }
        }
    }
}

/// Addresses of new clients whose flows may still be a former owner's, each with its failed
/// attempts.
#[derive(Debug, Default)]
struct DirtyFlows(Vec<(PoolIndex, u32)>);

impl DirtyFlows {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, addresses: impl IntoIterator<Item = PoolIndex>) {
        self.0
            .extend(addresses.into_iter().map(|address| (address, 0)));
    }

    fn addresses(&self) -> Vec<PoolIndex> {
        self.0.iter().map(|(address, _)| *address).collect()
    }

    /// Records an attempt at all addresses, and drops those that are clean or given up.
    fn record_attempt(&mut self, clean: bool) {
        self.0.retain_mut(|(_, attempts)| {
            *attempts += 1;
            !clean && *attempts < MAX_ATTEMPTS
        });
    }
}

/// Deletes flows and reports failures.
struct FlowCleaner<C> {
    pool: Pool,
    flows: C,
    status: Arc<HostStatus>,
}

impl<C: Conntrack> FlowCleaner<C> {
    /// Deletes the flows of `indices` and returns whether that succeeded.
    async fn delete_flows(&self, indices: &[PoolIndex]) -> bool {
        if indices.is_empty() {
            return true;
        }
        let addresses: Vec<_> = indices
            .iter()
            .map(|index| self.pool.address(*index))
            .collect();
        match self.flows.delete_flows(&addresses).await {
            Ok(_) => {
                if self.status.conntrack_succeeded() {
                    info!("flows of former clients can be deleted again");
                }
                true
            }
            Err(error) => {
                if self.status.conntrack_failed() {
                    warn!(
                        err = %error,
                        "flows of former clients cannot be deleted: their addresses are given out last"
                    );
                }
                false
            }
        }
    }
}

/// Returns the pause after a deletion that took `duration`.
fn pause_after(duration: Duration) -> Duration {
    (duration * PAUSE_FACTOR).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_added_during_retries_of_others_gets_all_its_attempts() {
        let [early, late] = [PoolIndex(2), PoolIndex(3)];
        let mut dirty = DirtyFlows::default();
        dirty.add([early]);
        dirty.record_attempt(false);
        dirty.record_attempt(false);
        dirty.add([late]);
        dirty.record_attempt(false);
        assert_eq!(
            dirty.addresses(),
            [late],
            "the attempts at the other are used up"
        );
        dirty.record_attempt(false);
        assert_eq!(dirty.addresses(), [late]);
        dirty.record_attempt(false);
        assert!(dirty.is_empty());
        dirty.add([early, late]);
        dirty.record_attempt(true);
        assert!(dirty.is_empty());
    }

    #[test]
    fn the_pause_grows_with_the_duration_up_to_a_second() {
        assert_eq!(
            pause_after(Duration::from_millis(1)),
            Duration::from_millis(50)
        );
        assert_eq!(pause_after(Duration::ZERO), Duration::ZERO);
        assert_eq!(pause_after(Duration::from_secs(3)), MAX_PAUSE);
    }
}
