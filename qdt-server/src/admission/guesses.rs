//! The limit on wrong tokens: by address, and by the networks around it.
//!
//! Whoever has a whole network has a bucket for each address of it, and enough addresses that the
//! table forgets those that are used up. Wider networks have larger buckets in tables of their own,
//! which those addresses cannot overrun.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use qdt_transport::{LimitKey, Reach};

use super::limits::{Limiter, TABLE_CAP};
use crate::config::Rate;

/// An IPv6 /56 may guess as much as so many of its networks.
const SUBSCRIBER: u32 = 4;
/// An IPv6 /48 may guess as much as so many of its networks. An IPv4 network has no bucket:
/// behind an address translation the neighbours of sixteen guessers would be refused with the right
/// token.
const SITE: u32 = 16;

/// See the module.
#[derive(Debug)]
pub struct Guesses {
    hosts: Limiter<LimitKey>,
    subscribers: Limiter<LimitKey>,
    sites: Limiter<LimitKey>,
}

impl Guesses {
    /// A limit of `rate` for each address, and multiples of it for networks; idle entries are
    /// forgotten after `ttl`.
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

    /// Takes one guess of `peer`; says whether there was one.
    pub fn take(&self, peer: IpAddr, now: Instant) -> bool {
        let mut taken = Vec::with_capacity(3);
        for network in counted(peer) {
            if !self.limiter(network).take(&network, now) {
                // Whoever is over one limit uses up no other.
                taken.iter().for_each(|network| self.give_back(network));
                return false;
            }
            taken.push(network);
        }
        true
    }

    /// Gives a guess of `peer` back: the token was right.
    pub fn refund(&self, peer: IpAddr) {
        counted(peer).for_each(|network| self.give_back(&network));
    }

    /// Addresses that are remembered.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.hosts.len()
    }

    fn give_back(&self, network: &LimitKey) {
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

/// What a guess of `peer` is charged to.
fn counted(peer: IpAddr) -> impl Iterator<Item = LimitKey> {
    let ipv4 = peer.to_canonical().is_ipv4();
    LimitKey::from(peer)
        .networks()
        .filter(move |network| !ipv4 || network.reach() == Reach::Host)
}
