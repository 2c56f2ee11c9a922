//! Makes the kernel forget whom an inner address belonged to, before or as soon as it is somebody
//! else's.
//!
//! Within one run of the server an address is cleaned between two owners: when `session_timeout` is
//! over its flows are deleted, and only then it returns to the pool. What an earlier run left in
//! the kernel is deleted when an address is given to a newcomer for the first time; a client that
//! comes back with its ticket keeps its flows, so that its connections live on, unless another
//! client shows a ticket for the same address.
//!
//! The socket to the kernel's flows is held from the start, so that a process without a free
//! descriptor cleans too. An address whose flows could not be deleted is tried again every second
//! and is given out when no other is left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use qdt_host::Conntrack;
use qdt_transport::{Pool, PoolIndex};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::status::HostStatus;
use crate::admission::AdmissionController;

/// How late an address may be noticed to be free; it is kept for `session_timeout` at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looking through the kernel's flows costs the same for one address as for a thousand. After a
/// look for newcomers the next one waits so many times as long as that one took, and takes in all
/// who came meanwhile: a crowd that connects at once costs a fiftieth of a core, and not all of
/// one.
const REST: u32 = 50;
/// However long a look took, newcomers wait no longer for the next.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// So often the flows of an address that a new client has already are tried; after that these flows
/// are more likely that client's own.
const TRIES: u32 = 3;

/// Looks after the addresses of `admission` for ever.
pub(super) async fn take_care<C: Conntrack>(
    admission: Arc<AdmissionController>,
    status: Arc<HostStatus>,
    flows: C,
) {
    let kernel = Kernel {
        pool: admission.pool(),
        flows,
        status,
    };
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut given = Given::default();
    let mut rests_until = Instant::now();
    loop {
        let newcomer = async {
            tokio::time::sleep_until(rests_until.into()).await;
            if given.is_clean() {
                admission.wait_for_session().await;
            }
        };
        tokio::select! {
            _ = tick.tick() => {
                let expired = admission.expire_addresses(Instant::now());
                let clean = kernel.forget(&expired).await;
                for address in expired {
                    if clean {
                        admission.release_address(address);
                    } else {
                        admission.defer_address(address);
                    }
                }
            }
            () = newcomer => {
                let began = Instant::now();
                given.add(admission.take_dirty_addresses());
                let clean = kernel.forget(&given.addresses()).await;
                given.tried(clean);
                let now = Instant::now();
                rests_until = now + if clean { rest_after(now - began) } else { LONGEST_REST };
            }
        }
    }
}

/// Addresses that new clients have already and whose flows may still be those of former owners,
/// each with the number of vain tries.
#[derive(Debug, Default)]
struct Given(Vec<(PoolIndex, u32)>);

impl Given {
    fn is_clean(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, addresses: impl IntoIterator<Item = PoolIndex>) {
        self.0
            .extend(addresses.into_iter().map(|address| (address, 0)));
    }

    fn addresses(&self) -> Vec<PoolIndex> {
        self.0.iter().map(|(address, _)| *address).collect()
    }

    /// All were tried: with success, or in vain.
    fn tried(&mut self, clean: bool) {
        self.0.retain_mut(|(_, tries)| {
            *tries += 1;
            !clean && *tries < TRIES
        });
    }
}

/// The kernel's flows, and what is told when they cannot be deleted.
struct Kernel<C> {
    pool: Pool,
    flows: C,
    status: Arc<HostStatus>,
}

impl<C: Conntrack> Kernel<C> {
    /// Deletes the flows of the `given` addresses and says whether that is done.
    async fn forget(&self, given: &[PoolIndex]) -> bool {
        if given.is_empty() {
            return true;
        }
        let addresses: Vec<_> = given
            .iter()
            .map(|index| self.pool.address(*index))
            .collect();
        match self.flows.delete_flows(&addresses).await {
            Ok(_) => {
                if self.status.conntrack_works() {
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

/// How long to wait after a look that took so long.
fn rest_after(took: Duration) -> Duration {
    (took * REST).min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_comes_while_others_are_tried_again_has_all_its_tries() {
        let [early, late] = [PoolIndex(2), PoolIndex(3)];
        let mut given = Given::default();
        given.add([early]);
        given.tried(false);
        given.tried(false);
        given.add([late]);
        given.tried(false);
        assert_eq!(given.addresses(), [late], "three tries are over");
        given.tried(false);
        assert_eq!(given.addresses(), [late]);
        given.tried(false);
        assert!(given.is_clean());
        given.add([early, late]);
        given.tried(true);
        assert!(given.is_clean());
    }

    #[test]
    fn a_short_look_is_followed_by_a_short_rest_and_no_rest_is_longer_than_a_second() {
        assert_eq!(
            rest_after(Duration::from_millis(1)),
            Duration::from_millis(50)
        );
        assert_eq!(rest_after(Duration::ZERO), Duration::ZERO);
        assert_eq!(rest_after(Duration::from_secs(3)), LONGEST_REST);
    }
}
