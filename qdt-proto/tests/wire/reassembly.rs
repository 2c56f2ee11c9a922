//! Reassembly is bounded and exact (promise H2): against a model that keeps every byte's fate,
//! and against the two weaknesses of the Go programs that lie here.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use qdt_proto::datagram::{
    Aead, FragmentError, MAX_PENDING, MessageType, OVERHEAD, OpenError, Opened, Opener,
    REASSEMBLY_TIMEOUT, Sealer, SessionId,
};

use crate::support::{some_keys, start};

/// A sender that follows no rule, and the receiver under test.
struct Link {
    sealer: Sealer,
    opener: Opener,
}

impl Link {
    fn new(limit: usize) -> Self {
        let (aead, keys, session) = (Aead::Aes256Gcm, some_keys(), SessionId(3));
        Self {
            sealer: Sealer::new(aead, &keys, session),
            opener: Opener::new(aead, &keys, session, limit, false),
        }
    }

    /// Sends a fragment with these fields; the packet if one is complete with it.
    fn fragment(
        &mut self,
        now: Instant,
        (id, offset, total): (u32, u32, u32),
        data: &[u8],
    ) -> Result<Option<Vec<u8>>, FragmentError> {
        let header = [id, offset, total].map(u32::to_be_bytes).concat();
        self.raw(now, &[&header, data].concat())
    }

    fn raw(&mut self, now: Instant, plaintext: &[u8]) -> Result<Option<Vec<u8>>, FragmentError> {
        let mut datagram = vec![0; plaintext.len() + OVERHEAD];
        self.sealer
            .seal(MessageType::Fragment, plaintext, &mut datagram)
            .expect("counters left");
        let mut out = vec![0; plaintext.len()];
        match self.opener.open(now, &datagram, &mut out) {
            Ok(Opened::Reassembled(packet)) => Ok(Some(packet.to_vec())),
            Ok(Opened::Incomplete) => Ok(None),
            Err(OpenError::Fragment(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }
}

/// What the receiver must do, told byte by byte.
struct Model {
    limit: usize,
    /// Oldest first.
    packets: Vec<ModelPacket>,
}

struct ModelPacket {
    id: u32,
    since: Instant,
    bytes: Vec<Option<u8>>,
}

#[derive(Debug, PartialEq)]
enum Fate {
    Refused,
    Taken,
    Complete(Vec<u8>),
}

impl Model {
    fn fragment(
        &mut self,
        now: Instant,
        (id, offset, total): (u32, u32, u32),
        data: &[u8],
    ) -> Fate {
        self.packets
            .retain(|packet| now < packet.since + REASSEMBLY_TIMEOUT);
        let end = offset as usize + data.len();
        if data.is_empty() || end > total as usize || total as usize > self.limit {
            return Fate::Refused;
        }
        let at = match self.packets.iter().position(|packet| packet.id == id) {
            Some(at) => at,
            None => {
                while self.packets.len() == MAX_PENDING
                    || self.bytes() + total as usize > self.limit
                {
                    self.packets.remove(0);
                }
                let bytes = vec![None; total as usize];
                self.packets.push(ModelPacket {
                    id,
                    since: now,
                    bytes,
                });
                self.packets.len() - 1
            }
        };
        let packet = &mut self.packets[at];
        if packet.bytes.len() != total as usize {
            return Fate::Refused;
        }
        let place = &mut packet.bytes[offset as usize..end];
        if place.iter().any(Option::is_some) {
            return Fate::Refused;
        }
        for (slot, byte) in place.iter_mut().zip(data) {
            *slot = Some(*byte);
        }
        match packet.bytes.iter().copied().collect::<Option<Vec<u8>>>() {
            None => Fate::Taken,
            Some(bytes) => {
                self.packets.remove(at);
                Fate::Complete(bytes)
            }
        }
    }

    fn bytes(&self) -> usize {
        self.packets.iter().map(|packet| packet.bytes.len()).sum()
    }
}

/// A fragment that comes after some time.
#[derive(Debug)]
struct Step {
    wait_ms: u64,
    fields: (u32, u32, u32),
    length: usize,
}

prop_compose! {
    /// Few ids, places and totals, so that fragments meet, complete and contradict each other;
    /// most of them on a grid, some a byte off it.
    fn any_step()(
        wait_ms in prop_oneof![6 => Just(0), 1 => 0..2500_u64],
        id in 0..6_u32,
        place in 0..6_u32,
        parts in 0..5_usize,
        total_parts in 0..6_u32,
        off_place in prop_oneof![8 => Just(0_u32), 1 => 1..8_u32],
        off_length in prop_oneof![8 => Just(0_usize), 1 => 1..3_usize],
    ) -> Step {
        let fields = (id, place * 8 + off_place, total_parts * 8);
        Step { wait_ms, fields, length: parts * 8 + off_length }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn reassembly_is_exact_or_nothing_like_the_model(
        limit in 10..150_usize,
        steps in vec(any_step(), 1..200),
    ) {
        let mut link = Link::new(limit);
        let mut model = Model { limit, packets: Vec::new() };
        let mut now = start();
        for (index, step) in steps.into_iter().enumerate() {
            now += Duration::from_millis(step.wait_ms);
            let fields = step.fields;
            let data = vec![index as u8; step.length];
            let expected = model.fragment(now, fields, &data);
            let fate = match link.fragment(now, fields, &data) {
                Err(_) => Fate::Refused,
                Ok(None) => Fate::Taken,
                Ok(Some(packet)) => Fate::Complete(packet),
            };
            prop_assert_eq!(&fate, &expected, "step {}: {:?}", index, fields);
            prop_assert!(link.opener.reassembly_bytes() <= limit, "above the cap");
            prop_assert_eq!(link.opener.pending_packets(), model.packets.len());
        }
    }

    #[test]
    fn no_fragment_makes_the_receiver_panic(
        plaintexts in vec(vec(prop_oneof![Just(0_u8), any::<u8>()], 0..40), 1..40),
    ) {
        let mut link = Link::new(4000);
        for plaintext in plaintexts {
            let _outcome = link.raw(start(), &plaintext);
            prop_assert!(link.opener.reassembly_bytes() <= 4000);
        }
    }
}

#[test]
fn each_refusal_says_why_and_leaves_the_packet_completable() {
    let mut link = Link::new(100);
    let now = start();
    assert_eq!(link.fragment(now, (1, 0, 20), &[1; 8]), Ok(None));
    assert_eq!(link.raw(now, &[0; 11]), Err(FragmentError::TooShort(11)));
    assert_eq!(
        link.fragment(now, (1, 8, 0), &[2; 8]),
        Err(FragmentError::TotalZero)
    );
    assert_eq!(
        link.fragment(now, (2, 0, 101), &[2; 8]),
        Err(FragmentError::TotalTooLarge {
            total: 101,
            limit: 100
        })
    );
    assert_eq!(
        link.fragment(now, (1, 8, 20), &[]),
        Err(FragmentError::Empty)
    );
    assert_eq!(
        link.fragment(now, (1, 13, 20), &[2; 8]),
        Err(FragmentError::BeyondTotal)
    );
    assert_eq!(
        link.fragment(now, (1, u32::MAX, 20), &[2; 8]),
        Err(FragmentError::BeyondTotal)
    );
    assert_eq!(
        link.fragment(now, (1, 7, 20), &[2; 8]),
        Err(FragmentError::Overlap)
    );
    assert_eq!(
        link.fragment(now, (1, 0, 20), &[1; 8]),
        Err(FragmentError::Overlap)
    );
    assert_eq!(link.fragment(now, (1, 12, 20), &[4; 8]), Ok(None));
    assert_eq!(
        link.fragment(now, (1, 8, 20), &[3; 5]),
        Err(FragmentError::Overlap)
    );
    let packet = [[1; 8].as_slice(), &[3; 4], &[4; 8]].concat();
    assert_eq!(link.fragment(now, (1, 8, 20), &[3; 4]), Ok(Some(packet)));
    assert_eq!(link.opener.pending_packets(), 0);
}

#[test]
fn weakness_crash_of_the_whole_server_by_two_fragments_with_different_totals() {
    let mut link = Link::new(65_535);
    let now = start();
    assert_eq!(link.fragment(now, (1, 0, 2000), &[1; 1000]), Ok(None));
    for total in [1001, 1999, 2001, 65_535] {
        assert_eq!(
            link.fragment(now, (1, 1000, total), &[2; 1]),
            Err(FragmentError::TotalMismatch {
                total,
                expected: 2000
            })
        );
    }
    let packet = [[1; 1000], [3; 1000]].concat();
    assert_eq!(
        link.fragment(now, (1, 1000, 2000), &[3; 1000]),
        Ok(Some(packet))
    );
}

#[test]
fn weakness_reassembly_memory_without_a_bound() {
    // A peer sends 1.25 MB, the first bytes of a thousand packets of the greatest length each.
    let mut link = Link::new(65_535);
    for id in 0..1000 {
        assert_eq!(
            link.fragment(start(), (id, 0, 65_535), &[0; 1250]),
            Ok(None)
        );
        assert!(link.opener.reassembly_bytes() <= 65_535);
        assert_eq!(link.opener.pending_packets(), 1);
    }
}

#[test]
fn the_number_of_incomplete_packets_is_capped_and_the_oldest_gives_way() {
    let mut link = Link::new(65_535);
    let now = start();
    for id in 0..=MAX_PENDING as u32 {
        assert_eq!(link.fragment(now, (id, 0, 2), &[1]), Ok(None));
    }
    assert_eq!(link.opener.pending_packets(), MAX_PENDING);
    assert_eq!(link.fragment(now, (1, 1, 2), &[2]), Ok(Some(vec![1, 2])));
    assert_eq!(
        link.fragment(now, (0, 1, 2), &[2]),
        Ok(None),
        "the oldest was given up"
    );
}

#[test]
fn a_packet_in_too_many_pieces_takes_no_more_of_them_but_still_completes() {
    let mut link = Link::new(65_535);
    let now = start();
    let mut refused = Vec::new();
    for place in (0..200).step_by(2) {
        match link.fragment(now, (1, place, 200), &[1]) {
            Ok(packet) => assert_eq!(packet, None),
            Err(error) => {
                assert_eq!(error, FragmentError::TooScattered);
                refused.push(place);
            }
        }
    }
    assert_eq!(refused, (128..200).step_by(2).collect::<Vec<_>>());
    for place in (1..128).step_by(2) {
        assert_eq!(link.fragment(now, (1, place, 200), &[1]), Ok(None));
    }
    assert_eq!(
        link.fragment(now, (1, 128, 200), &[1; 72]),
        Ok(Some(vec![1; 200]))
    );
}

#[test]
fn an_incomplete_packet_is_given_up_after_five_seconds_even_if_it_is_the_only_one() {
    let mut link = Link::new(65_535);
    let began = start();
    assert_eq!(link.opener.poll_timeout(), None);
    assert_eq!(link.fragment(began, (1, 0, 20), &[1; 10]), Ok(None));
    assert_eq!(
        link.opener.poll_timeout(),
        Some(began + Duration::from_secs(5))
    );
    // Later fragments do not prolong its life.
    let late = began + Duration::from_millis(4999);
    assert_eq!(link.fragment(late, (1, 10, 20), &[2; 5]), Ok(None));
    link.opener.handle_timeout(late);
    assert_eq!(
        (
            link.opener.pending_packets(),
            link.opener.reassembly_bytes()
        ),
        (1, 20)
    );
    link.opener.handle_timeout(began + REASSEMBLY_TIMEOUT);
    assert_eq!(
        (
            link.opener.pending_packets(),
            link.opener.reassembly_bytes()
        ),
        (0, 0)
    );
    assert_eq!(link.opener.poll_timeout(), None);
    // And any datagram does what the timer would have done.
    assert_eq!(link.fragment(began, (2, 0, 20), &[1; 10]), Ok(None));
    let after = began + REASSEMBLY_TIMEOUT;
    assert_eq!(
        link.fragment(after, (2, 10, 20), &[2; 10]),
        Ok(None),
        "a new packet began"
    );
}
