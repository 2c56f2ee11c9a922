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
/// Looking through the kernel's flows costs the same for one address as for a thousand. After a look for newcomers
/// the next one waits so many times as long as that one took, and takes in all who came meanwhile: a crowd that
/// connects at once costs a fiftieth of a core, and not all of one.
const REST: u32 = 50;
/// However long a look took, newcomers wait no longer for the next.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Looks after the addresses of `keeper` for ever.
pub(super) async fn take_care(keeper: Arc<Doorkeeper>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned = false;
    let mut rests_until = Instant::now();
    loop {
        let newcomer = async {
            tokio::time::sleep_until(rests_until.into()).await;
            keeper.wait_for_newcomer().await;
        };
        tokio::select! {
            _ = tick.tick() => {
                let expired = keeper.expire_addresses(Instant::now());
                forget(&expired, &mut warned).await;
                for address in expired {
                    keeper.release_address(address);
                }
            }
            () = newcomer => {
                let began = Instant::now();
                forget(&keeper.take_unclean_addresses(), &mut warned).await;
                let now = Instant::now();
                rests_until = now + rest_after(now - began);
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

/// How long to wait after a look that took so long.
fn rest_after(took: Duration) -> Duration {
    (took * REST).min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

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
