//! Fuzz targets for what a peer sends in the handshake and in datagrams.
//!
//! Each function takes any bytes and panics where a promise of the parser does not hold; that it
//! neither panics itself nor runs away is the least of them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use qdt_proto::datagram::{
    Aead, HEADER_LEN, Header, MAX_PENDING, MessageType, OVERHEAD, OpenError, Opened, Opener,
    ReplayWindow, Sealer, SessionId,
};
use qdt_proto::handshake::{
    ConnectRequest, ConnectResponse, DecodeError, DirectionKeys, MAX_BODY, Nonce,
};

/// The body of a request: what was read can be written and read again, and neither bytes after
/// it nor their absence change it.
pub fn connect_request(data: &[u8]) {
    let decoded = ConnectRequest::decode(data);
    body_rules(
        data,
        &decoded,
        ConnectRequest::decode,
        ConnectRequest::encode,
    );
    if let Ok(request) = decoded {
        assert!(request.version == 1 && request.mtu > 0);
    }
}

/// The body of a response, by the same rules.
pub fn connect_response(data: &[u8]) {
    let decoded = ConnectResponse::decode(data);
    body_rules(
        data,
        &decoded,
        ConnectResponse::decode,
        ConnectResponse::encode,
    );
    if let Ok(response) = decoded {
        assert!(response.version == 1 && response.mtu > 0);
    }
}

fn body_rules<T: PartialEq + std::fmt::Debug>(
    data: &[u8],
    decoded: &Result<T, DecodeError>,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    if *decoded == Err(DecodeError::Incomplete) {
        assert!(
            data.len() < MAX_BODY,
            "a body of full length is never incomplete"
        );
        return;
    }
    assert_eq!(
        decode(&[data, b"x"].concat()),
        *decoded,
        "a judgement is final"
    );
    if let Ok(message) = decoded {
        let body = encode(message);
        if body.len() <= MAX_BODY {
            assert_eq!(decode(&body).as_ref(), Ok(message));
        }
    }
}

/// The text of a nonce: whatever is accepted has one canonical text that means the same.
pub fn nonce_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(nonce) = Nonce::from_text(text) {
        assert_eq!(Nonce::from_text(&nonce.to_text()), Ok(nonce));
    }
}

/// Bytes from a sender without the keys: never opened, and they leave no trace.
pub fn datagram(data: &[u8]) {
    if let Ok(header) = Header::parse(data) {
        assert_eq!(header.encode()[..], data[..HEADER_LEN]);
    }
    // The receiver of whatever session the bytes claim, so that every check is reached.
    let session = data.get(6..14).map_or(0, |id| {
        u64::from_be_bytes(id.try_into().expect("the slice has eight bytes"))
    });
    let keys = DirectionKeys::new([0x51; 32], [0x44; 4]);
    let mut sealer = Sealer::new(Aead::Aes256Gcm, &keys, SessionId(session));
    let mut opener = Opener::new(Aead::Aes256Gcm, &keys, SessionId(session), 65_535, true);
    let mut out = vec![0; data.len()];
    let now = Instant::now();
    assert!(
        opener.open(now, data, &mut out).is_err(),
        "opened without the keys"
    );
    let mut genuine = [0; OVERHEAD];
    sealer
        .seal(MessageType::Data, &[], &mut genuine)
        .expect("the first counter is free");
    assert_eq!(opener.open(now, &genuine, &mut out), Ok(Opened::Packet(0)));
}

/// Fragments from an authenticated but hostile peer. Steps of 7 bytes: time to wait in units of
/// 100 ms, id, offset (2), total (2), length.
pub fn reassembly(data: &[u8]) {
    const LIMIT: usize = 4096;
    let keys = DirectionKeys::new([0x51; 32], [0x44; 4]);
    let mut sealer = Sealer::new(Aead::Aes256Gcm, &keys, SessionId(1));
    let mut opener = Opener::new(Aead::Aes256Gcm, &keys, SessionId(1), LIMIT, false);
    let mut now = Instant::now();
    for (index, step) in data.chunks_exact(7).enumerate() {
        now += Duration::from_millis(100) * u32::from(step[0]);
        let total = u16::from_be_bytes([step[4], step[5]]);
        let mut plaintext = vec![
            0, 0, 0, step[1], 0, 0, step[2], step[3], 0, 0, step[4], step[5],
        ];
        plaintext.resize(plaintext.len() + usize::from(step[6]), index as u8);
        let mut sealed = vec![0; plaintext.len() + OVERHEAD];
        sealer
            .seal(MessageType::Fragment, &plaintext, &mut sealed)
            .expect("counters are left");
        match opener.open(now, &sealed, &mut plaintext) {
            Ok(Opened::Reassembled(packet)) => {
                assert_eq!(packet.len(), usize::from(total));
                assert!(
                    packet.contains(&(index as u8)),
                    "complete without its last fragment"
                );
            }
            Ok(Opened::Incomplete) | Err(OpenError::Fragment(_)) => {}
            other => panic!("{other:?}"),
        }
        assert!(opener.reassembly_bytes() <= LIMIT && opener.pending_packets() <= MAX_PENDING);
    }
    opener.handle_timeout(now + Duration::from_secs(5));
    assert_eq!((opener.pending_packets(), opener.poll_timeout()), (0, None));
}

/// Counters, eight bytes each: accepted as a set would accept them.
pub fn replay_window(data: &[u8]) {
    const SIZE: u64 = 100;
    let mut window = ReplayWindow::new(SIZE as usize);
    let mut seen = HashSet::new();
    let mut highest = None;
    for counter in data.chunks_exact(8) {
        let counter = u64::from_be_bytes(counter.try_into().expect("the chunk has eight bytes"));
        let recent = highest.is_none_or(|highest: u64| highest.saturating_sub(counter) < SIZE);
        let fresh = recent && seen.insert(counter);
        assert_eq!(
            window.check(counter),
            fresh,
            "counter {counter} after {highest:?}"
        );
        window.mark(counter);
        highest = highest.max(Some(counter));
    }
}
