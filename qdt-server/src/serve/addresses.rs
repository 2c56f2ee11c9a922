//! Makes the kernel forget whom an inner address belonged to, before or as soon as it is somebody
//! else's.
//!
//! Within one run of the server an address is cleaned between two owners: when `session_timeout` is
//! over its flows are deleted, and only then it returns to the pool. What an earlier run left in the
//! kernel is deleted when an address is given to a newcomer for the first time; a client that comes
//! back with its ticket keeps its flows, so that its connections live on, unless another client shows
//! a ticket for the same address.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qdt_host::conntrack;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::admission::Doorkeeper;

/// How late an address may be noticed to be free; it is kept for `session_timeout` at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks after the addresses of `keeper` for ever.
pub(super) async fn take_care(keeper: Arc<Doorkeeper>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let expired = keeper.expire_addresses(Instant::now());
                forget(&expired, &mut warned).await;
                for address in expired {
                    keeper.release_address(address);
                }
            }
            () = keeper.wait_for_newcomer() => {
                forget(&keeper.take_unclean_addresses(), &mut warned).await;
            }
        }
    }
}

/// Deletes the flows of `addresses`. Where the kernel refuses, the addresses are used all the same:
/// a pool that runs dry would be worse than a late packet.
async fn forget(addresses: &[Ipv4Addr], warned: &mut bool) {
    if addresses.is_empty() {
        return;
    }
    if let Err(error) = conntrack::forget_all(addresses).await
        && !std::mem::replace(warned, true)
    {
        warn!(err = %error, "flows of former clients cannot be deleted; said once");
    }
}
