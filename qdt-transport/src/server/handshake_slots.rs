//! The slots of a worker's connections without a session.
//!
//! A connection without a session costs memory before its client has shown a token. Bounds limit
//! that: one per worker, one per address (/32 or /64), and wider ones per network around it
//! ([`LimitKey::networks`]), so that a host with a valid address cannot take all slots, nor can one
//! with a whole network of addresses. Below each bound is a threshold from which an address must be
//! validated (Retry, RFC 9000 section 8.1.2): a sender with a spoofed address gets no further, and
//! cannot use up the slots of that address.
//!
//! Invariant: `by_network` has exactly the networks that hold a slot, at most three per slot.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::limit_key::{LimitKey, Reach};

/// Slots in use on one worker from which an address must be validated.
const RETRY_FROM: usize = 256;
/// The slots of one worker.
const MAX_SLOTS: usize = 4096;
/// Slots in use by one address from which it must be validated.
const HOST_RETRY_FROM: usize = 32;
/// The slots of one address on one worker. A regular connection needs one for a few round trips, so
/// these admit some hundred clients a second behind one address; the others retry.
const HOST_SLOTS: usize = 64;
/// Threshold and slots of an IPv6 /56.
const SUBSCRIBER_BOUNDS: (usize, usize) = (128, 256);
/// Threshold and slots of an IPv6 /48: a quarter of all slots.
const IPV6_SITE_BOUNDS: (usize, usize) = (256, 1024);
/// Threshold and slots of an IPv4 /24: half of all slots, because thousands of clients may be
/// behind one with a NAT.
const IPV4_SITE_BOUNDS: (usize, usize) = (256, 2048);
/// Slots in use that make a connection burst, whose memory is worth trimming afterwards.
const BURST: usize = 128;
/// At most this many slots in use end a connection burst.
const BURST_REST: usize = 16;

/// The decision on a first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeDecision {
    /// Accept the connection.
    Accept,
    /// Validate the address first.
    Retry,
    /// Ignore the packet: there is no slot.
    Ignore,
}

#[derive(Debug, Default)]
pub(super) struct HandshakeSlots {
    in_use: usize,
    /// The most slots in use since a burst, or most of the rest of one, last ended.
    peak: usize,
    /// Whether a burst has started and not ended.
    in_burst: bool,
    by_network: HashMap<LimitKey, usize>,
}

impl HandshakeSlots {
    /// Decides on a first packet from `address`, which is `validated` or not.
    pub(super) fn decide(&self, address: LimitKey, validated: bool) -> HandshakeDecision {
        let mut decision = match self.in_use {
            MAX_SLOTS.. => return HandshakeDecision::Ignore,
            RETRY_FROM.. if !validated => HandshakeDecision::Retry,
            _ => HandshakeDecision::Accept,
        };
        for network in address.networks() {
            let held = self.by_network.get(&network).copied().unwrap_or_default();
            let (retry_from, slots) = bounds(network);
            if held >= slots {
                return HandshakeDecision::Ignore;
            }
            if held >= retry_from && !validated {
                decision = HandshakeDecision::Retry;
            }
        }
        decision
    }

    /// Takes a slot, also from the bounds of `address` and its networks if there is one.
    pub(super) fn acquire(&mut self, address: Option<LimitKey>) {
        self.in_use += 1;
        self.peak = self.peak.max(self.in_use);
        self.in_burst |= self.in_use >= BURST;
        for network in address.into_iter().flat_map(LimitKey::networks) {
            *self.by_network.entry(network).or_default() += 1;
        }
    }

    /// Releases a slot; `address` is as in [`Self::acquire`].
    pub(super) fn release(&mut self, address: Option<LimitKey>) {
        self.in_use -= 1;
        for network in address.into_iter().flat_map(LimitKey::networks) {
            if let Entry::Occupied(mut held) = self.by_network.entry(network) {
                *held.get_mut() -= 1;
                if *held.get() == 0 {
                    held.remove();
                }
            }
        }
    }

    /// Returns true once when seven eighths of a burst of connections without a session, or that
    /// lost it, have gone, and again with each seven eighths of the rest, whose memory lies between
    /// that of the others.
    pub(super) fn burst_has_ended(&mut self) -> bool {
        let left = self.in_burst && self.in_use <= self.peak / 8;
        if left {
            self.peak = self.in_use;
            self.in_burst = self.in_use > BURST_REST;
        }
        left
    }
}

/// Returns the threshold for validation and the slots of a network.
fn bounds(network: LimitKey) -> (usize, usize) {
    match network.reach() {
        Reach::Host => (HOST_RETRY_FROM, HOST_SLOTS),
        Reach::Subscriber => SUBSCRIBER_BOUNDS,
        Reach::Site if network.is_ipv4() => IPV4_SITE_BOUNDS,
        Reach::Site => IPV6_SITE_BOUNDS,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn key(text: &str) -> LimitKey {
        text.parse::<IpAddr>().expect("an address").into()
    }

    fn numbered(n: usize) -> LimitKey {
        IpAddr::from(Ipv4Addr::from_bits(n as u32)).into()
    }

    #[test]
    fn the_slots_of_one_address_are_bounded_and_others_are_not_affected() {
        let mut slots = HandshakeSlots::default();
        let busy = key("192.0.2.1");
        for n in 0..HOST_SLOTS {
            let expected = if n < HOST_RETRY_FROM {
                HandshakeDecision::Accept
            } else {
                HandshakeDecision::Retry
            };
            assert_eq!(slots.decide(busy, false), expected, "the {n}th");
            assert_eq!(
                slots.decide(busy, true),
                HandshakeDecision::Accept,
                "the {n}th"
            );
            slots.acquire(Some(busy));
        }
        assert_eq!(slots.decide(busy, true), HandshakeDecision::Ignore);
        assert_eq!(slots.decide(busy, false), HandshakeDecision::Ignore);
        assert_eq!(
            slots.decide(key("192.0.2.2"), false),
            HandshakeDecision::Accept
        );
        slots.release(Some(busy));
        assert_eq!(slots.decide(busy, true), HandshakeDecision::Accept);
    }

    #[test]
    fn a_slash_64_counts_as_one_address_and_a_mapped_ipv4_address_as_ipv4() {
        let mut slots = HandshakeSlots::default();
        for n in 0..HOST_SLOTS {
            slots.acquire(Some(key(&format!("2001:db8:1:2::{n:x}"))));
            slots.acquire(Some(key("::ffff:192.0.2.1")));
        }
        assert_eq!(
            slots.decide(key("2001:db8:1:2:3:4:5:6"), true),
            HandshakeDecision::Ignore
        );
        assert_eq!(
            slots.decide(key("192.0.2.1"), true),
            HandshakeDecision::Ignore
        );
        assert_eq!(
            slots.decide(key("2001:db8:1:3::1"), true),
            HandshakeDecision::Accept
        );
        assert_eq!(
            slots.decide(key("::ffff:192.0.2.2"), false),
            HandshakeDecision::Accept,
            "mapped addresses do not share a /64"
        );
    }

    #[test]
    fn many_addresses_together_are_validated_and_then_ignored() {
        let mut slots = HandshakeSlots::default();
        let stranger = key("198.51.100.1");
        (0..RETRY_FROM).for_each(|n| slots.acquire(Some(numbered(n))));
        assert_eq!(slots.decide(stranger, false), HandshakeDecision::Retry);
        assert_eq!(slots.decide(stranger, true), HandshakeDecision::Accept);
        (RETRY_FROM..MAX_SLOTS).for_each(|n| slots.acquire(Some(numbered(n))));
        assert_eq!(slots.decide(stranger, true), HandshakeDecision::Ignore);
        (0..MAX_SLOTS).for_each(|n| slots.release(Some(numbered(n))));
        assert!(slots.by_network.is_empty(), "no network is left");
        assert!(slots.burst_has_ended());
        assert!(!slots.burst_has_ended(), "returned once");
    }

    #[test]
    fn a_burst_that_ends_slowly_is_reported_again_for_its_rest() {
        let mut slots = HandshakeSlots::default();
        (0..8 * BURST).for_each(|_| slots.acquire(None));
        let mut left_at = Vec::new();
        for left in (0..8 * BURST).rev() {
            slots.release(None);
            if slots.burst_has_ended() {
                left_at.push(left);
            }
        }
        assert_eq!(left_at, [BURST, BURST_REST]);
        (0..BURST - 1).for_each(|_| slots.acquire(None));
        (0..BURST - 1).for_each(|_| slots.release(None));
        assert!(!slots.burst_has_ended(), "that was not a burst");
    }

    #[test]
    fn a_slot_without_an_address_counts_for_the_worker_only() {
        let mut slots = HandshakeSlots::default();
        (0..2 * HOST_SLOTS).for_each(|_| slots.acquire(None));
        assert_eq!(
            slots.decide(key("192.0.2.1"), false),
            HandshakeDecision::Accept
        );
        assert!(slots.by_network.is_empty());
    }

    /// Takes slots for as many of `addresses` as possible, and returns how many.
    fn fill(slots: &mut HandshakeSlots, addresses: impl Iterator<Item = String>) -> usize {
        addresses
            .map(|address| key(&address))
            .filter(|address| {
                let free = slots.decide(*address, true) == HandshakeDecision::Accept;
                if free {
                    slots.acquire(Some(*address));
                }
                free
            })
            .count()
    }

    #[test]
    fn a_slash_48_takes_at_most_a_quarter_of_the_slots_and_others_are_not_affected() {
        let mut slots = HandshakeSlots::default();
        let all = (0..=u16::MAX).map(|n| format!("2001:db8:1:{n:x}::1"));
        assert_eq!(fill(&mut slots, all.clone()), IPV6_SITE_BOUNDS.1);
        assert_eq!(fill(&mut slots, all.clone()), 0);
        assert_eq!(
            slots.decide(key("2001:db8:2::1"), true),
            HandshakeDecision::Accept
        );
        assert_eq!(
            slots.decide(key("192.0.2.1"), true),
            HandshakeDecision::Accept
        );
        for address in all.take(IPV6_SITE_BOUNDS.1) {
            slots.release(Some(key(&address)));
        }
        assert!(slots.by_network.is_empty(), "no network is left");
    }

    #[test]
    fn a_slash_56_takes_at_most_its_share_of_the_slash_48() {
        let mut slots = HandshakeSlots::default();
        let all = || (0..=255).map(|n| format!("2001:db8:1:42{n:02x}::1"));
        assert_eq!(fill(&mut slots, all().chain(all())), SUBSCRIBER_BOUNDS.1);
        let neighbour = key("2001:db8:1:4300::1");
        assert_eq!(slots.decide(neighbour, true), HandshakeDecision::Accept);
    }

    #[test]
    fn spoofed_addresses_of_a_network_leave_slots_to_its_validated_ones() {
        let mut slots = HandshakeSlots::default();
        let spoofed = (0..256)
            .map(|n| key(&format!("2001:db8:1:42{n:02x}::1")))
            .filter(|address| {
                let free = slots.decide(*address, false) == HandshakeDecision::Accept;
                if free {
                    slots.acquire(Some(*address));
                }
                free
            });
        assert_eq!(spoofed.count(), SUBSCRIBER_BOUNDS.0);
        let honest = key("2001:db8:1:4200::2");
        assert_eq!(slots.decide(honest, false), HandshakeDecision::Retry);
        assert_eq!(slots.decide(honest, true), HandshakeDecision::Accept);
    }

    #[test]
    fn an_ipv4_slash_24_takes_at_most_half_of_the_slots() {
        let mut slots = HandshakeSlots::default();
        let all = (0..=255)
            .cycle()
            .take(MAX_SLOTS)
            .map(|n| format!("100.64.7.{n}"));
        assert_eq!(fill(&mut slots, all), IPV4_SITE_BOUNDS.1);
        assert_eq!(
            slots.decide(key("100.64.8.1"), true),
            HandshakeDecision::Accept
        );
    }
}
