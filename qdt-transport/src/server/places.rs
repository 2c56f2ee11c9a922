//! The places of connections that have no session yet: so many of one worker, so many of one
//! address.
//!
//! Until a connection has a session it costs memory that nobody has paid for. Bounds hold it: one
//! for everybody, one for each address (/32 or /64), and wider ones for the networks around it
//! ([`LimitKey::networks`]), so that a host that does prove its address cannot take all places, and
//! neither can one that has a whole network of them. Under each bound lies a mark from which on an
//! address has to be proven (Retry, RFC 9000 section 8.1.2): a sender with a forged address gets no
//! further, and so cannot use up the places of whom it pretends to be.
//!
//! What always holds: `by_network` has an entry for exactly the networks that hold a place, so it
//! is never longer than three times the number of places.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::limit_key::{LimitKey, Reach};

/// Unfinished connections of one worker from which on an address must be proven.
const PROVE_FROM: usize = 256;
/// The most unfinished connections of one worker.
const MOST: usize = 4096;
/// Unfinished connections of one address from which on it must be proven.
const PROVE_FROM_OF_ONE: usize = 32;
/// The most unfinished connections of one address on one worker. An honest connection is unfinished
/// for a few round trips, so this is some hundred clients a second behind one address; those that
/// find no place try again.
const MOST_OF_ONE: usize = 64;
/// Unfinished connections of one IPv6 /56 from which on its addresses must be proven, and the most
/// of them.
const OF_A_SUBSCRIBER: (usize, usize) = (128, 256);
/// The same of one IPv6 /48: a quarter of all places.
const OF_AN_IPV6_SITE: (usize, usize) = (256, 1024);
/// The same of one IPv4 /24. Half of all: behind one that translates addresses may be thousands of
/// clients.
const OF_AN_IPV4_SITE: (usize, usize) = (256, 2048);
/// So many connections without a session are a crowd: what they leave behind is worth tidying up.
const CROWD: usize = 128;
/// So few of a crowd are not worth it any more.
const FEW: usize = 16;

/// What becomes of a first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is a place.
    Free,
    /// There is one for who proves its address.
    AfterProof,
    /// There is none.
    Full,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: usize,
    /// The most of them since a crowd, or most of what was left of one, last left.
    most_taken: usize,
    /// A crowd has come, and more than a few of it are left.
    is_crowd: bool,
    by_network: HashMap<LimitKey, usize>,
}

impl Places {
    /// Whether a connection from `address`, which is `proven` or not, finds a place.
    pub(super) fn room_for(&self, address: LimitKey, proven: bool) -> Room {
        let mut room = match self.taken {
            MOST.. => return Room::Full,
            PROVE_FROM.. if !proven => Room::AfterProof,
            _ => Room::Free,
        };
        for network in address.networks() {
            let held = self.by_network.get(&network).copied().unwrap_or_default();
            let (prove_from, most) = bounds(network);
            if held >= most {
                return Room::Full;
            }
            if held >= prove_from && !proven {
                room = Room::AfterProof;
            }
        }
        room
    }

    /// A connection takes a place; `address` is counted where it has to answer for it.
    pub(super) fn take(&mut self, address: Option<LimitKey>) {
        self.taken += 1;
        self.most_taken = self.most_taken.max(self.taken);
        self.is_crowd |= self.taken >= CROWD;
        for network in address.into_iter().flat_map(LimitKey::networks) {
            *self.by_network.entry(network).or_default() += 1;
        }
    }

    /// Gives back what [`Self::take`] took.
    pub(super) fn give_back(&mut self, address: Option<LimitKey>) {
        self.taken -= 1;
        for network in address.into_iter().flat_map(LimitKey::networks) {
            if let Entry::Occupied(mut held) = self.by_network.entry(network) {
                *held.get_mut() -= 1;
                if *held.get() == 0 {
                    held.remove();
                }
            }
        }
    }

    /// True once when seven eighths of a crowd of connections without a session, or that lost it,
    /// have gone, and again with each seven eighths of the rest: those who are left hold the memory
    /// between theirs, too.
    pub(super) fn crowd_has_left(&mut self) -> bool {
        let left = self.is_crowd && self.taken <= self.most_taken / 8;
        if left {
            self.most_taken = self.taken;
            self.is_crowd = self.taken > FEW;
        }
        left
    }
}

/// From how many connections on a network's addresses must be proven, and how many it may have at
/// most.
fn bounds(network: LimitKey) -> (usize, usize) {
    match network.reach() {
        Reach::Host => (PROVE_FROM_OF_ONE, MOST_OF_ONE),
        Reach::Subscriber => OF_A_SUBSCRIBER,
        Reach::Site if network.is_ipv4() => OF_AN_IPV4_SITE,
        Reach::Site => OF_AN_IPV6_SITE,
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
    fn one_address_gets_its_share_and_others_do_not_notice() {
        let mut places = Places::default();
        let crowd = key("192.0.2.1");
        for n in 0..MOST_OF_ONE {
            let unproven = if n < PROVE_FROM_OF_ONE {
                Room::Free
            } else {
                Room::AfterProof
            };
            assert_eq!(places.room_for(crowd, false), unproven, "the {n}th");
            assert_eq!(places.room_for(crowd, true), Room::Free, "the {n}th");
            places.take(Some(crowd));
        }
        assert_eq!(places.room_for(crowd, true), Room::Full);
        assert_eq!(places.room_for(crowd, false), Room::Full);
        assert_eq!(places.room_for(key("192.0.2.2"), false), Room::Free);
        places.give_back(Some(crowd));
        assert_eq!(places.room_for(crowd, true), Room::Free);
    }

    #[test]
    fn a_slash_64_is_one_address_and_a_mapped_ipv4_address_an_ipv4_one() {
        let mut places = Places::default();
        for n in 0..MOST_OF_ONE {
            places.take(Some(key(&format!("2001:db8:1:2::{n:x}"))));
            places.take(Some(key("::ffff:192.0.2.1")));
        }
        assert_eq!(
            places.room_for(key("2001:db8:1:2:3:4:5:6"), true),
            Room::Full
        );
        assert_eq!(places.room_for(key("192.0.2.1"), true), Room::Full);
        assert_eq!(places.room_for(key("2001:db8:1:3::1"), true), Room::Free);
        assert_eq!(
            places.room_for(key("::ffff:192.0.2.2"), false),
            Room::Free,
            "mapped addresses do not share a /64"
        );
    }

    #[test]
    fn many_addresses_together_have_to_be_proven_and_then_to_wait() {
        let mut places = Places::default();
        let stranger = key("198.51.100.1");
        (0..PROVE_FROM).for_each(|n| places.take(Some(numbered(n))));
        assert_eq!(places.room_for(stranger, false), Room::AfterProof);
        assert_eq!(places.room_for(stranger, true), Room::Free);
        (PROVE_FROM..MOST).for_each(|n| places.take(Some(numbered(n))));
        assert_eq!(places.room_for(stranger, true), Room::Full);
        (0..MOST).for_each(|n| places.give_back(Some(numbered(n))));
        assert!(places.by_network.is_empty(), "nobody is remembered");
        assert!(places.crowd_has_left());
        assert!(!places.crowd_has_left(), "said once");
    }

    #[test]
    fn a_crowd_that_leaves_slowly_has_left_once_more_when_its_last_have_gone() {
        let mut places = Places::default();
        (0..8 * CROWD).for_each(|_| places.take(None));
        let mut left_at = Vec::new();
        for left in (0..8 * CROWD).rev() {
            places.give_back(None);
            if places.crowd_has_left() {
                left_at.push(left);
            }
        }
        assert_eq!(left_at, [CROWD, FEW]);
        (0..CROWD - 1).for_each(|_| places.take(None));
        (0..CROWD - 1).for_each(|_| places.give_back(None));
        assert!(!places.crowd_has_left(), "that was no crowd");
    }

    #[test]
    fn a_place_without_an_address_is_counted_for_everybody_only() {
        let mut places = Places::default();
        (0..2 * MOST_OF_ONE).for_each(|_| places.take(None));
        assert_eq!(places.room_for(key("192.0.2.1"), false), Room::Free);
        assert!(places.by_network.is_empty());
    }

    /// As many connections as find a place, one from each address in turn.
    fn fill(places: &mut Places, addresses: impl Iterator<Item = String>) -> usize {
        addresses
            .map(|address| key(&address))
            .filter(|address| {
                let free = places.room_for(*address, true) == Room::Free;
                if free {
                    places.take(Some(*address));
                }
                free
            })
            .count()
    }

    #[test]
    fn a_slash_48_with_all_its_networks_takes_a_quarter_of_the_places_and_others_do_not_notice() {
        let mut places = Places::default();
        let all = (0..=u16::MAX).map(|n| format!("2001:db8:1:{n:x}::1"));
        assert_eq!(fill(&mut places, all.clone()), OF_AN_IPV6_SITE.1);
        assert_eq!(fill(&mut places, all.clone()), 0);
        assert_eq!(places.room_for(key("2001:db8:2::1"), true), Room::Free);
        assert_eq!(places.room_for(key("192.0.2.1"), true), Room::Free);
        for address in all.take(OF_AN_IPV6_SITE.1) {
            places.give_back(Some(key(&address)));
        }
        assert!(places.by_network.is_empty(), "nobody is remembered");
    }

    #[test]
    fn a_slash_56_with_all_its_networks_takes_no_more_than_its_share_of_the_slash_48() {
        let mut places = Places::default();
        let all = || (0..=255).map(|n| format!("2001:db8:1:42{n:02x}::1"));
        assert_eq!(fill(&mut places, all().chain(all())), OF_A_SUBSCRIBER.1);
        let neighbour = key("2001:db8:1:4300::1");
        assert_eq!(places.room_for(neighbour, true), Room::Free);
    }

    #[test]
    fn forged_addresses_of_a_network_leave_places_to_those_of_it_that_are_proven() {
        let mut places = Places::default();
        let forged = (0..256)
            .map(|n| key(&format!("2001:db8:1:42{n:02x}::1")))
            .filter(|address| {
                let free = places.room_for(*address, false) == Room::Free;
                if free {
                    places.take(Some(*address));
                }
                free
            });
        assert_eq!(forged.count(), OF_A_SUBSCRIBER.0);
        let honest = key("2001:db8:1:4200::2");
        assert_eq!(places.room_for(honest, false), Room::AfterProof);
        assert_eq!(places.room_for(honest, true), Room::Free);
    }

    #[test]
    fn many_clients_behind_an_ipv4_slash_24_that_translates_find_half_of_the_places() {
        let mut places = Places::default();
        let all = (0..=255)
            .cycle()
            .take(MOST)
            .map(|n| format!("100.64.7.{n}"));
        assert_eq!(fill(&mut places, all), OF_AN_IPV4_SITE.1);
        assert_eq!(places.room_for(key("100.64.8.1"), true), Room::Free);
    }
}
