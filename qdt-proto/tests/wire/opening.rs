//! The receiving end: what each type brings, in which order a datagram is judged, and that
//! nothing malformed, forged or foreign gets through (promises H1 and H7).

use proptest::prelude::*;
use qdt_proto::datagram::{
    Aead, HeaderError, MessageType, OVERHEAD, OpenError, Opened, Opener, Sealer, SessionId,
};
use qdt_proto::handshake::DirectionKeys;

use crate::support::{some_keys, start};

const SESSION: SessionId = SessionId(42);

fn pair(aead: Aead) -> (Sealer, Opener) {
    let keys = some_keys();
    (
        Sealer::new(aead, &keys, SESSION),
        Opener::new(aead, &keys, SESSION, 65_535, false),
    )
}

fn sealed(sealer: &mut Sealer, kind: MessageType, plaintext: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; plaintext.len() + OVERHEAD];
    sealer
        .seal(kind, plaintext, &mut datagram)
        .expect("counters are left");
    datagram
}

#[test]
fn each_type_brings_what_it_says_and_close_only_where_it_was_negotiated() {
    let (mut sealer, mut opener) = pair(Aead::Aes256Gcm);
    let mut with_close = Opener::new(Aead::Aes256Gcm, &some_keys(), SESSION, 65_535, true);
    let mut out = [0; 10];
    for (kind, expected) in [
        (MessageType::Data, Opened::Packet(4)),
        (MessageType::Ping, Opened::Ping(4)),
        (MessageType::Pong, Opened::Pong(4)),
    ] {
        let datagram = sealed(&mut sealer, kind, b"body");
        assert_eq!(opener.open(start(), &datagram, &mut out), Ok(expected));
        assert_eq!(&out[..4], b"body");
    }
    let datagram = sealed(&mut sealer, MessageType::Close, b"bye");
    assert_eq!(
        opener.open(start(), &datagram, &mut out),
        Err(OpenError::UnknownType(4))
    );
    assert_eq!(
        with_close.open(start(), &datagram, &mut out),
        Ok(Opened::Close(3))
    );
    assert_eq!(&out[..3], b"bye");
}

#[test]
fn a_datagram_is_judged_by_shape_then_session_then_replay_then_authenticity() {
    let (mut sealer, mut opener) = pair(Aead::ChaCha20Poly1305);
    let mut out = [0; 10];
    let mut datagram = sealed(&mut sealer, MessageType::Data, b"x");
    assert_eq!(
        opener.open(start(), &datagram, &mut out),
        Ok(Opened::Packet(1))
    );
    // Spoilt from the last check to the first, each spoils the one before as well.
    datagram[38] ^= 1;
    assert_eq!(
        opener.open(start(), &datagram, &mut out),
        Err(OpenError::Replay)
    );
    datagram[13] ^= 1;
    assert_eq!(
        opener.open(start(), &datagram, &mut out),
        Err(OpenError::Session)
    );
    datagram[3] = 7;
    let version = OpenError::Header(HeaderError::Version(7));
    assert_eq!(opener.open(start(), &datagram, &mut out), Err(version));
    datagram[0] = b'X';
    let magic = OpenError::Header(HeaderError::Magic);
    assert_eq!(opener.open(start(), &datagram, &mut out), Err(magic));
    for length in 0..OVERHEAD {
        let too_short = OpenError::Header(HeaderError::TooShort(length));
        assert_eq!(
            opener.open(start(), &datagram[..length], &mut out),
            Err(too_short)
        );
    }
}

#[test]
fn a_forgery_far_ahead_does_not_move_the_window() {
    let (mut sealer, mut opener) = pair(Aead::Aes256Gcm);
    let mut out = [0; 10];
    let genuine = sealed(&mut sealer, MessageType::Data, b"early");
    sealer.advance_to(1 << 60);
    let mut forged = sealed(&mut sealer, MessageType::Data, b"late");
    forged[30] ^= 0x80;
    assert_eq!(
        opener.open(start(), &forged, &mut out),
        Err(OpenError::Forged)
    );
    assert_eq!(
        opener.open(start(), &genuine, &mut out),
        Ok(Opened::Packet(5))
    );
}

#[test]
fn a_buffer_that_is_too_short_does_not_use_the_counter_up() {
    let (mut sealer, mut opener) = pair(Aead::Aes256Gcm);
    let datagram = sealed(&mut sealer, MessageType::Data, b"packet");
    let too_small = OpenError::OutputTooSmall {
        needed: 6,
        available: 5,
    };
    assert_eq!(opener.open(start(), &datagram, &mut [0; 5]), Err(too_small));
    assert_eq!(
        opener.open(start(), &datagram, &mut [0; 6]),
        Ok(Opened::Packet(6))
    );
}

#[test]
fn a_datagram_of_one_session_is_worth_nothing_in_another() {
    let (mut sealer, _) = pair(Aead::Aes256Gcm);
    let datagram = sealed(&mut sealer, MessageType::Data, b"packet");
    let other_keys = DirectionKeys::new([9; 32], [1, 2, 3, 4]);
    let mut out = [0; 6];
    // Another session id; the same id under other keys; and under the other AEAD.
    let mut other_id = Opener::new(Aead::Aes256Gcm, &some_keys(), SessionId(43), 65_535, false);
    assert_eq!(
        other_id.open(start(), &datagram, &mut out),
        Err(OpenError::Session)
    );
    for (aead, keys) in [
        (Aead::Aes256Gcm, &other_keys),
        (Aead::ChaCha20Poly1305, &some_keys()),
    ] {
        let mut opener = Opener::new(aead, keys, SESSION, 65_535, false);
        assert_eq!(
            opener.open(start(), &datagram, &mut out),
            Err(OpenError::Forged)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_malformed_datagram_is_refused_and_the_genuine_one_still_accepted(
        at: prop::sample::Index,
        flip in 1..=255_u8,
        cut in 0..60_usize,
        extra in proptest::collection::vec(any::<u8>(), 0..20),
        plaintext in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let (mut sealer, mut opener) = pair(Aead::ChaCha20Poly1305);
        let genuine = sealed(&mut sealer, MessageType::Data, &plaintext);
        let mut out = [0; 200];
        let mut flipped = genuine.clone();
        flipped[at.index(genuine.len())] ^= flip;
        let shortened = genuine[..genuine.len() - cut.clamp(1, genuine.len())].to_vec();
        let mut lengthened = genuine.clone();
        lengthened.push(0);
        lengthened.extend(&extra);
        for malformed in [&flipped, &shortened, &lengthened, &extra] {
            prop_assert!(opener.open(start(), malformed, &mut out).is_err());
        }
        let opened = opener.open(start(), &genuine, &mut out);
        prop_assert_eq!(opened, Ok(Opened::Packet(plaintext.len())));
        prop_assert_eq!(&out[..plaintext.len()], &plaintext[..]);
    }
}
