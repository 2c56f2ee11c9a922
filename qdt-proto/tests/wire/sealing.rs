//! The sending end: what it writes opens again, at an independent implementation too, and no
//! nonce comes twice (promise H6).

use aes_gcm::aead::{Aead as _, KeyInit, Payload};
use proptest::prelude::*;
use qdt_proto::datagram::{
    Aead, FRAGMENT_HEADER_LEN, HEADER_LEN, Header, MAX_PACKET, MessageType, OVERHEAD, Opened,
    Opener, SealError, Sealer, SessionId,
};
use qdt_proto::handshake::DirectionKeys;

use crate::support::{some_keys, start};

const SESSION: SessionId = SessionId(0x0123_4567_89ab_cdef);
const KINDS: [MessageType; 5] = [
    MessageType::Data,
    MessageType::Fragment,
    MessageType::Ping,
    MessageType::Pong,
    MessageType::Close,
];

fn any_aead() -> impl Strategy<Value = Aead> {
    prop_oneof![Just(Aead::ChaCha20Poly1305), Just(Aead::Aes256Gcm)]
}

/// Ciphertext and tag by the RustCrypto implementation of the same AEAD.
fn oracle_seal(aead: Aead, keys: &DirectionKeys, header: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(keys.nonce_prefix());
    nonce[4..].copy_from_slice(&header[14..22]);
    let payload = Payload {
        msg: plaintext,
        aad: header,
    };
    match aead {
        Aead::Aes256Gcm => aes_gcm::Aes256Gcm::new_from_slice(keys.key())
            .expect("32 bytes")
            .encrypt(&nonce.into(), payload),
        Aead::ChaCha20Poly1305 => chacha20poly1305::ChaCha20Poly1305::new_from_slice(keys.key())
            .expect("32 bytes")
            .encrypt(&nonce.into(), payload),
    }
    .expect("the oracle seals")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_independent_implementation_seals_and_opens_the_same_bytes(
        aead in any_aead(),
        key: [u8; 32],
        prefix: [u8; 4],
        session: u64,
        counter in 0..u64::MAX,
        kind in 0..KINDS.len(),
        plaintext in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let keys = DirectionKeys::new(key, prefix);
        let kind = KINDS[kind];
        let mut sealer = Sealer::new(aead, &keys, SessionId(session));
        sealer.advance_to(counter);
        let mut datagram = vec![0; plaintext.len() + OVERHEAD];
        prop_assert_eq!(sealer.seal(kind, &plaintext, &mut datagram), Ok(datagram.len()));

        let header = Header { kind: kind as u8, flags: 0, session: SessionId(session), counter };
        prop_assert_eq!(Header::parse(&datagram), Ok(header));
        prop_assert_eq!(&datagram[..HEADER_LEN], &header.encode()[..]);
        let sealed = oracle_seal(aead, &keys, &datagram[..HEADER_LEN], &plaintext);
        prop_assert_eq!(&datagram[HEADER_LEN..], &sealed[..]);

        // And what the other implementation seals under any flags is opened here.
        let header = Header { kind: 0, flags: 0xa5, ..header }.encode();
        let mut foreign = header.to_vec();
        foreign.extend(oracle_seal(aead, &keys, &header, &plaintext));
        let mut opener = Opener::new(aead, &keys, SessionId(session), 65_535, false);
        let mut out = vec![0; plaintext.len()];
        let opened = opener.open(start(), &foreign, &mut out);
        prop_assert_eq!(opened, Ok(Opened::Packet(plaintext.len())));
        prop_assert_eq!(out, plaintext);
    }

    #[test]
    fn a_fragmented_packet_comes_back_whole_in_any_order(
        aead in any_aead(),
        packet in proptest::collection::vec(any::<u8>(), 1..6000),
        max_datagram in 150..2000_usize,
        shuffle: u64,
    ) {
        let mut sealer = Sealer::new(aead, &some_keys(), SESSION);
        let mut fragments = sealer.fragments(&packet, max_datagram).unwrap();
        let mut datagrams = Vec::new();
        let mut buffer = [0; 2000];
        while let Some(length) = fragments.next_into(&mut buffer).unwrap() {
            prop_assert!(length <= max_datagram);
            datagrams.push(buffer[..length].to_vec());
        }
        let whole = packet.len() + OVERHEAD <= max_datagram;
        prop_assert_eq!(datagrams.len() == 1, whole || packet.len() <= max_datagram - 50);

        let mut random = shuffle;
        for last in (1..datagrams.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            datagrams.swap(last, (random >> 33) as usize % (last + 1));
        }
        let mut opener = Opener::new(aead, &some_keys(), SESSION, 65_535, false);
        let mut out = [0; 2000];
        for (index, datagram) in datagrams.iter().enumerate() {
            let opened = opener.open(start(), datagram, &mut out).unwrap();
            match opened {
                Opened::Packet(length) => prop_assert_eq!(&out[..length], &packet[..]),
                Opened::Reassembled(bytes) => prop_assert_eq!(bytes, &packet[..]),
                other => {
                    prop_assert_eq!(other, Opened::Incomplete);
                    prop_assert!(index + 1 < datagrams.len());
                }
            }
        }
    }

    #[test]
    fn a_nonce_is_never_reused_over_every_send_path(
        first in prop_oneof![Just(0), Just(u64::MAX - 40), 0..u64::MAX],
        steps in proptest::collection::vec(any_step(), 1..40),
    ) {
        let mut sealer = Sealer::new(Aead::Aes256Gcm, &some_keys(), SESSION);
        sealer.advance_to(first);
        let mut next_allowed = first;
        for step in steps {
            for datagram in send(&mut sealer, &step) {
                let counter = Header::parse(&datagram).unwrap().counter;
                prop_assert!(counter >= next_allowed, "{counter} came before");
                prop_assert!(counter < u64::MAX, "the last counter must stay unused");
                next_allowed = counter + 1;
            }
            prop_assert!(sealer.counter() >= next_allowed);
        }
    }
}

/// One call of a sealer, by whatever way a datagram can leave.
#[derive(Debug, Clone)]
enum Step {
    Seal {
        kind: usize,
        length: usize,
    },
    /// A packet, of which only so many datagrams are asked for.
    Split {
        length: usize,
        max_datagram: usize,
        taken: usize,
    },
    /// A buffer that is too short by so many bytes.
    NoRoom {
        length: usize,
        missing: usize,
    },
    Advance {
        to: u64,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..KINDS.len(), 0..100_usize).prop_map(|(kind, length)| Step::Seal { kind, length }),
        (0..500_usize, 40..200_usize, 0..9_usize).prop_map(|(length, max_datagram, taken)| {
            Step::Split {
                length,
                max_datagram,
                taken,
            }
        }),
        (0..100_usize, 1..38_usize).prop_map(|(length, missing)| Step::NoRoom { length, missing }),
        any::<u64>().prop_map(|to| Step::Advance { to: to >> 40 }),
    ]
}

fn send(sealer: &mut Sealer, step: &Step) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 1000];
    let mut sent = Vec::new();
    match *step {
        Step::Seal { kind, length } => {
            if let Ok(length) = sealer.seal(KINDS[kind], &vec![0; length], &mut buffer) {
                sent.push(buffer[..length].to_vec());
            }
        }
        Step::Split {
            length,
            max_datagram,
            taken,
        } => {
            let packet = vec![0; length];
            if let Ok(mut fragments) = sealer.fragments(&packet, max_datagram) {
                for _ in 0..taken {
                    if let Some(length) = fragments.next_into(&mut buffer).expect("reserved") {
                        sent.push(buffer[..length].to_vec());
                    }
                }
            }
        }
        Step::NoRoom { length, missing } => {
            let room = length + OVERHEAD - missing;
            let error = sealer.seal(MessageType::Data, &vec![0; length], &mut buffer[..room]);
            assert!(error.is_err(), "sealed into too short a buffer");
        }
        Step::Advance { to } => sealer.advance_to(to),
    }
    sent
}

#[test]
fn a_sealer_stops_before_its_counter_would_wrap() {
    let mut sealer = Sealer::new(Aead::ChaCha20Poly1305, &some_keys(), SESSION);
    sealer.advance_to(u64::MAX - 2);
    let mut out = [0; 200];
    // Two counters are left: a packet that needs three is refused as a whole.
    let refused = sealer.fragments(&[0; 120], OVERHEAD + FRAGMENT_HEADER_LEN + 50);
    assert_eq!(refused.err(), Some(SealError::CounterExhausted));
    assert_eq!(sealer.counter(), u64::MAX - 2);
    assert_eq!(
        sealer.seal(MessageType::Data, b"one", &mut out),
        Ok(3 + OVERHEAD)
    );
    assert_eq!(sealer.seal(MessageType::Ping, b"", &mut out), Ok(OVERHEAD));
    assert_eq!(sealer.counter(), u64::MAX);
    for _ in 0..3 {
        let refused = sealer.seal(MessageType::Data, b"three", &mut out);
        assert_eq!(refused, Err(SealError::CounterExhausted));
        assert_eq!(
            sealer.fragments(b"x", 100).err(),
            Some(SealError::CounterExhausted)
        );
    }
    sealer.advance_to(0);
    assert_eq!(sealer.counter(), u64::MAX, "the counter never goes back");
}

#[test]
fn fragments_of_packets_that_overtake_each_other_do_not_mix() {
    let mut sealer = Sealer::new(Aead::Aes256Gcm, &some_keys(), SESSION);
    let mut opener = Opener::new(Aead::Aes256Gcm, &some_keys(), SESSION, 65_535, false);
    let packets: Vec<Vec<u8>> = (1..=9).map(|mark| vec![mark; 250]).collect();
    let mut rounds = vec![Vec::new(), Vec::new(), Vec::new()];
    for packet in &packets {
        let mut fragments = sealer.fragments(packet, 150).unwrap();
        let mut buffer = [0; 150];
        for round in &mut rounds {
            let length = fragments.next_into(&mut buffer).unwrap().unwrap();
            round.push(buffer[..length].to_vec());
        }
    }
    let mut whole = Vec::new();
    for datagram in rounds.concat() {
        let opened = opener.open(start(), &datagram, &mut [0; 150]).unwrap();
        if let Opened::Reassembled(packet) = opened {
            whole.push(packet.to_vec());
        }
    }
    assert_eq!(whole, packets);
}

#[test]
fn a_buffer_that_is_too_short_costs_no_counter_and_loses_no_fragment() {
    let mut sealer = Sealer::new(Aead::ChaCha20Poly1305, &some_keys(), SESSION);
    let mut out = [0; 100];
    assert_eq!(
        sealer.seal(MessageType::Data, &[0; 63], &mut out),
        Err(SealError::OutputTooSmall {
            needed: 101,
            available: 100
        })
    );
    assert_eq!(sealer.counter(), 0);
    let packet = [7; 90];
    let mut fragments = sealer.fragments(&packet, 100).unwrap();
    let too_short = fragments.next_into(&mut out[..99]);
    assert_eq!(
        too_short,
        Err(SealError::OutputTooSmall {
            needed: 100,
            available: 99
        })
    );
    assert_eq!(fragments.next_into(&mut out), Ok(Some(100)));
    assert_eq!(fragments.next_into(&mut out), Ok(Some(90)));
    assert_eq!(fragments.next_into(&mut out), Ok(None));
}

#[test]
fn a_datagram_without_room_for_data_is_refused_and_one_byte_is_enough() {
    let mut sealer = Sealer::new(Aead::ChaCha20Poly1305, &some_keys(), SESSION);
    for max_datagram in 0..=50 {
        let refused = sealer.fragments(&[0; 20], max_datagram);
        assert_eq!(
            refused.err(),
            Some(SealError::DatagramTooSmall(max_datagram))
        );
    }
    for (max_datagram, count) in [(51, 20), (58, 1)] {
        let mut fragments = sealer.fragments(&[0; 20], max_datagram).unwrap();
        let mut out = [0; 58];
        let sealed = std::iter::from_fn(|| fragments.next_into(&mut out).unwrap());
        assert_eq!(sealed.count(), count);
    }
    let too_long = sealer.fragments(&[0; MAX_PACKET + 1], 1350);
    assert_eq!(
        too_long.err(),
        Some(SealError::PacketTooLong(MAX_PACKET + 1))
    );
}

#[test]
fn keys_do_not_show_in_debug_output() {
    let keys = some_keys();
    let sealer = Sealer::new(Aead::Aes256Gcm, &keys, SESSION);
    let opener = Opener::new(Aead::Aes256Gcm, &keys, SESSION, 65_535, true);
    let shown = format!("{keys:?} {sealer:?} {opener:?}");
    assert!(shown.contains("redacted"));
    // The key begins 1, 8, 15 and the prefix is 1, 2, 3, 4.
    for secret in ["8, 15", "1, 2, 3", "080f", "0x8"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
