//! The host's default route, whose interface NAT follows where none is named.
//!
//! Invariant: every report that routes may have changed is followed by a look at them, at the
//! latest with the next report after [`SHARE`] times what the look before took: the table of a
//! router with routes to every network of the internet takes seconds to read.

use std::time::{Duration, Instant};

use qdt_host::{Changes, Network};
use tracing::warn;

/// Of all time, one part in so many is spent on reading routes.
const SHARE: u32 = 20;
/// A route that moves to and fro is followed no more often than this.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct FollowedRoute {
    /// Routes may have changed since they were read.
    stale: bool,
    read_again: Instant,
}

impl FollowedRoute {
    pub(super) fn new() -> Self {
        Self {
            stale: true,
            read_again: Instant::now(),
        }
    }

    /// The interface of the default route of `network`, where it may be another one than at the
    /// last look and it is time to look.
    pub(super) async fn read(
        &mut self,
        network: &impl Network,
        changes: Changes,
    ) -> Option<String> {
        self.stale |= changes.routes;
        let begun = Instant::now();
        if !self.stale || begun < self.read_again {
            return None;
        }
        let found = network.default_route_interface().await;
        self.read_again = Instant::now() + begun.elapsed() * SHARE;
        match found {
            Ok(found) => {
                self.stale = false;
                found
            }
            Err(error) => {
                warn!(err = %error, "the default route cannot be read");
                None
            }
        }
    }

    /// The rules name another interface now.
    pub(super) fn was_followed(&mut self) {
        self.read_again = self.read_again.max(Instant::now() + FOLLOW_EVERY);
    }
}
