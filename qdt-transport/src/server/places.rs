//! The places of connections that have no session yet: so many of one worker, so many of one address.
//!
//! Until a connection has a session it costs memory that nobody has paid for. Two bounds hold it: one for everybody
//! and one for each address (/32 or /64), so that a host that does prove its address cannot take all places. Under
//! each bound lies a mark from which on an address has to be proven (Retry, RFC 9000 section 8.1.2): a sender
//! with a forged address gets no further, and so cannot use up the places of whom it pretends to be.
//!
//! What always holds: `by_address` has an entry for exactly the addresses that hold a place, so it is never longer
//! than the number of places.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::limit_key::LimitKey;

/// Unfinished connections of one worker from which on an address must be proven.
const PROVE_FROM: usize = 256;
/// The most unfinished connections of one worker.
const MOST: usize = 4096;
/// Unfinished connections of one address from which on it must be proven.
const PROVE_FROM_OF_ONE: usize = 32;
/// The most unfinished connections of one address on one worker. An honest connection is unfinished for a few round
/// trips, so this is some hundred clients a second behind one address; those that find no place try again.
const MOST_OF_ONE: usize = 64;
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
    by_address: HashMap<LimitKey, usize>,
}

impl Places {
    /// Whether a connection from `address`, which is `proven` or not, finds a place.
    pub(super) fn room_for(&self, address: LimitKey, proven: bool) -> Room {
        let own = self.by_address.get(&address).copied().unwrap_or_default();
        if self.taken >= MOST || own >= MOST_OF_ONE {
            Room::Full
        } else if !proven && (self.taken >= PROVE_FROM || own >= PROVE_FROM_OF_ONE) {
            Room::AfterProof
        } else {
            Room::Free
        }
    }

    /// A connection takes a place; `address` is counted where it has to answer for it.
    pub(super) fn take(&mut self, address: Option<LimitKey>) {
        self.taken += 1;
        self.most_taken = self.most_taken.max(self.taken);
        self.is_crowd |= self.taken >= CROWD;
        if let Some(address) = address {
            *self.by_address.entry(address).or_default() += 1;
        }
    }

    /// Gives back what [`Self::take`] took.
    pub(super) fn give_back(&mut self, address: Option<LimitKey>) {
        self.taken -= 1;
        if let Some(address) = address
            && let Entry::Occupied(mut own) = self.by_address.entry(address)
        {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }

    /// True once when seven eighths of a crowd of connections without a session, or that lost it, have gone, and again
    /// with each seven eighths of the rest: those who are left hold the memory between theirs, too.
    pub(super) fn crowd_has_left(&mut self) -> bool {
        let left = self.is_crowd && self.taken <= self.most_taken / 8;
        if left {
            self.most_taken = self.taken;
            self.is_crowd = self.taken > FEW;
        }
        left
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
        assert!(places.by_address.is_empty(), "nobody is remembered");
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
        assert!(places.by_address.is_empty());
    }
}
