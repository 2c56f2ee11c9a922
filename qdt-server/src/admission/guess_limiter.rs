//! The limit on wrong tokens, per address and per IPv6 network.
//!
//! An attacker with a whole network has a bucket per address, and enough addresses to overrun the
//! table. Wider networks therefore have larger buckets in tables of their own.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use qdt_transport::{LimitKey, Reach};

use super::limiter::{Limiter, TABLE_CAP};
use crate::config::Rate;

/// The limit of an IPv6 /56, as a multiple of that of one address.
const SUBSCRIBER: u32 = 4;
/// The limit of an IPv6 /48, likewise. An IPv4 network has none: behind NAT, sixteen guessers would
/// lock out their neighbours.
const SITE: u32 = 16;

/// Limits wrong tokens per address and network.
#[derive(Debug)]
pub struct GuessLimiter {
    hosts: Limiter<LimitKey>,
    subscribers: Limiter<LimitKey>,
    sites: Limiter<LimitKey>,
}

impl GuessLimiter {
    /// Makes a limit of `rate` per address and multiples of it per network, which forgets idle
    /// entries after `ttl`.
    #[must_use]
    pub fn new(rate: Rate, ttl: Duration, start: Instant) -> Self {
        let limiter = |times: u32| {
            let rate = Rate {
                pps: rate.pps.saturating_mul(times),
                burst: rate.burst.saturating_mul(times),
            };
            Limiter::new(rate, ttl, TABLE_CAP, start)
        };
        Self {
            hosts: limiter(1),
            subscribers: limiter(SUBSCRIBER),
            sites: limiter(SITE),
        }
    }

    /// Takes one guess of `peer` and returns whether one was left.
    pub fn take(&self, peer: IpAddr, now: Instant) -> bool {
        let mut taken = Vec::with_capacity(3);
        for network in charged(peer) {
            if !self.limiter(network).take(&network, now) {
                // A guess over one limit is not charged to the others.
                taken
                    .iter()
                    .for_each(|network| self.refund_network(network));
                return false;
            }
            taken.push(network);
        }
        true
    }

    /// Returns one guess to `peer`, whose token was right.
    pub fn refund(&self, peer: IpAddr) {
        charged(peer).for_each(|network| self.refund_network(&network));
    }

    /// Returns the number of addresses in the table.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.hosts.len()
    }

    fn refund_network(&self, network: &LimitKey) {
        self.limiter(*network).refund(network);
    }

    fn limiter(&self, network: LimitKey) -> &Limiter<LimitKey> {
        match network.reach() {
            Reach::Host => &self.hosts,
            Reach::Subscriber => &self.subscribers,
            Reach::Site => &self.sites,
        }
    }
}

/// Returns the networks that a guess of `peer` is charged to.
fn charged(peer: IpAddr) -> impl Iterator<Item = LimitKey> {
    let ipv4 = peer.to_canonical().is_ipv4();
    LimitKey::from(peer)
        .networks()
        .filter(move |network| !ipv4 || network.reach() == Reach::Host)
}
