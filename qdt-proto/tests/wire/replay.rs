//! Exactly once (promise H5): the replay window against a plain set, alone and inside an opener.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use qdt_proto::datagram::{
    Aead, MessageType, OpenError, Opened, Opener, ReplayWindow, Sealer, SessionId,
};

use crate::support::{some_keys, start};

/// The rule, told with a set of all counters ever accepted.
#[derive(Default)]
struct Model {
    seen: HashSet<u64>,
    highest: Option<u64>,
}

impl Model {
    fn accept(&mut self, counter: u64, size: u64) -> bool {
        let in_window = self.highest.is_none_or(|highest| {
            u128::from(counter) + u128::from(size) > u128::from(highest) || counter > highest
        });
        let accepted = in_window && self.seen.insert(counter);
        if accepted {
            self.highest = self.highest.max(Some(counter));
        }
        accepted
    }
}

/// A counter relative to where the window stands, or anywhere.
#[derive(Debug, Clone)]
enum Next {
    Ahead(u64),
    Behind(u64),
    Exactly(u64),
}

fn any_next() -> impl Strategy<Value = Next> {
    prop_oneof![
        4 => (0..3_u64).prop_map(Next::Ahead),
        3 => (0..130_u64).prop_map(Next::Ahead),
        1 => (0..5000_u64).prop_map(Next::Ahead),
        4 => (0..200_u64).prop_map(Next::Behind),
        3 => (0..5000_u64).prop_map(Next::Behind),
        1 => any::<u64>().prop_map(Next::Exactly),
        1 => (u64::MAX - 3000..=u64::MAX).prop_map(Next::Exactly),
        1 => (0..3000_u64).prop_map(Next::Exactly),
    ]
}

fn counters(first: u64, steps: &[Next]) -> Vec<u64> {
    let mut at = first;
    let mut counters = vec![first];
    for step in steps {
        let counter = match *step {
            Next::Ahead(by) => at.saturating_add(by),
            Next::Behind(by) => at.saturating_sub(by),
            Next::Exactly(counter) => counter,
        };
        at = at.max(counter);
        counters.push(counter);
    }
    counters
}

fn any_first() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        0..5000_u64,
        any::<u64>(),
        u64::MAX - 5000..=u64::MAX
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_replay_window_accepts_each_counter_once_like_a_set(
        size in prop_oneof![Just(2048_usize), 0..200_usize, 1000..3000_usize],
        first in any_first(),
        steps in vec(any_next(), 0..300),
    ) {
        let mut window = ReplayWindow::new(size);
        let mut model = Model::default();
        for counter in counters(first, &steps) {
            let accepted = window.check(counter);
            prop_assert_eq!(accepted, model.accept(counter, size as u64), "counter {}", counter);
            // Marking what was refused must not matter either.
            window.mark(counter);
            prop_assert!(!window.check(counter));
        }
    }

    #[test]
    fn an_opener_delivers_each_datagram_once_in_whatever_order_they_come(
        first in any_first().prop_map(|first| first.min(u64::MAX - 1)),
        steps in vec(any_next(), 0..60),
    ) {
        let mut opener =
            Opener::new(Aead::Aes256Gcm, &some_keys(), SessionId(9), 65_535, false);
        let mut model = Model::default();
        for counter in counters(first, &steps) {
            // A sealer of its own for each, because one sealer never goes back.
            let mut sealer = Sealer::new(Aead::Aes256Gcm, &some_keys(), SessionId(9));
            sealer.advance_to(counter.min(u64::MAX - 1));
            let counter = sealer.counter();
            let mut datagram = [0; 46];
            sealer.seal(MessageType::Data, &counter.to_be_bytes(), &mut datagram).unwrap();
            let mut out = [0; 8];
            // A forgery of the same counter comes first: it must not use the counter up.
            let mut forged = datagram;
            forged[45] ^= 1;
            prop_assert!(opener.open(start(), &forged, &mut out).is_err());
            let opened = opener.open(start(), &datagram, &mut out);
            if model.accept(counter, 2048) {
                prop_assert_eq!(opened, Ok(Opened::Packet(8)));
                prop_assert_eq!(out, counter.to_be_bytes());
            } else {
                prop_assert_eq!(opened, Err(OpenError::Replay));
            }
        }
    }
}

#[test]
fn the_edges_of_the_window_are_where_the_protocol_puts_them() {
    let mut window = ReplayWindow::new(2048);
    window.mark(5000);
    assert!(!window.check(5000));
    assert!(!window.check(2952), "counter + 2048 > max does not hold");
    assert!(window.check(2953));
    window.mark(u64::MAX);
    assert!(!window.check(u64::MAX) && !window.check(0) && !window.check(u64::MAX - 2048));
    assert!(window.check(u64::MAX - 2047) && window.check(u64::MAX - 1));
}
