//! Recordings of the Go programs' datagrams: what they send, what they accept, what they refuse.

use qdt_proto::datagram::{
    Aead, FragmentError, HeaderError, OpenError, Opened, Opener, ReplayWindow, Sealer, SessionId,
};

use crate::support::{bytes, from_hex, number, session_keys, start, text, vector_cases};

const OPENED: usize = 1 << 16;

#[test]
fn packets_become_the_datagrams_of_the_vector_and_come_back() {
    for case in vector_cases("datagrams") {
        let keys = session_keys(&case);
        let keys = match text(&case, "direction") {
            "client_to_server" => &keys.client,
            "server_to_client" => &keys.server,
            other => panic!("unknown direction {other}"),
        };
        let session = SessionId(number(&case, "session_id"));
        let packet = bytes(&case, "payload_hex");
        let expected: Vec<Vec<u8>> = case["datagrams_hex"]
            .as_array()
            .unwrap()
            .iter()
            .map(|datagram| from_hex(datagram.as_str().unwrap()))
            .collect();

        let mut sealer = Sealer::new(Aead::ChaCha20Poly1305, keys, session);
        sealer.advance_to(number(&case, "first_counter"));
        for _ in 1..number(&case, "fragment_id") {
            // A packet that is begun takes its fragment id, even if nothing of it is sealed.
            let _begun = sealer.fragments(&[0; 100], 60).unwrap();
        }
        let mut opener = Opener::new(Aead::ChaCha20Poly1305, keys, session, 65_535, false);
        let mut fragments = sealer
            .fragments(&packet, number(&case, "mtu") as usize)
            .unwrap();
        let mut buffer = vec![0; OPENED];
        let mut out = vec![0; OPENED];
        for (index, datagram) in expected.iter().enumerate() {
            let length = fragments.next_into(&mut buffer).unwrap().unwrap();
            assert!(buffer[..length] == datagram[..], "datagram {index} differs");
            let opened = opener.open(start(), datagram, &mut out).unwrap();
            let last = index + 1 == expected.len();
            match opened {
                Opened::Packet(length) => assert!(last && out[..length] == packet[..]),
                Opened::Reassembled(whole) => assert!(last && whole == packet),
                Opened::Incomplete => assert!(!last, "the last fragment completes the packet"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(fragments.next_into(&mut buffer), Ok(None));
    }
}

#[test]
fn a_receiver_judges_each_step_as_in_the_vector() {
    for case in vector_cases("receive_steps") {
        let keys = session_keys(&case);
        let keys = match text(&case, "receiver") {
            "server" => &keys.client,
            "client" => &keys.server,
            other => panic!("unknown receiver {other}"),
        };
        assert_eq!(
            number(&case, "replay_window"),
            qdt_proto::datagram::REPLAY_WINDOW
        );
        let mut opener = Opener::new(
            Aead::ChaCha20Poly1305,
            keys,
            SessionId(number(&case, "session_id")),
            number(&case, "max_reassembly_bytes") as usize,
            false,
        );
        let now = start();
        for step in case["steps"].as_array().unwrap() {
            let name = text(step, "name");
            let mut out = vec![0; OPENED];
            let result = opener.open(now, &bytes(step, "datagram_hex"), &mut out);
            match step["error"].as_str() {
                Some(reason) => {
                    let error = result.err().unwrap_or_else(|| panic!("{name}: accepted"));
                    assert!(
                        is_reason(&error, reason),
                        "{name}: {error:?} is not `{reason}`"
                    );
                }
                None => {
                    let opened = result.unwrap_or_else(|error| panic!("{name}: {error}"));
                    assert_eq!(
                        delivered(&opened, &out),
                        bytes(step, "packet_hex"),
                        "{name}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_replay_window_accepts_and_refuses_as_in_the_vector() {
    for case in vector_cases("replay") {
        let mut window = ReplayWindow::new(number(&case, "window") as usize);
        for (index, step) in case["ops"].as_array().unwrap().iter().enumerate() {
            let counter = number(step, "counter");
            let accepted = window.check(counter);
            assert_eq!(
                step["accepted"], accepted,
                "op {index} of window {}",
                case["window"]
            );
            if accepted {
                window.mark(counter);
            }
        }
    }
}

/// What goes on to the TUN device; nothing for everything that is not a packet.
fn delivered<'a>(opened: &'a Opened<'_>, out: &'a [u8]) -> &'a [u8] {
    match opened {
        Opened::Packet(length) => &out[..*length],
        Opened::Reassembled(packet) => packet,
        Opened::Incomplete | Opened::Ping(_) | Opened::Pong(_) | Opened::Close(_) => &[],
    }
}

/// Whether an error of this crate says what a text of the Go programs says.
fn is_reason(error: &OpenError, go_text: &str) -> bool {
    let unknown_type = go_text
        .strip_prefix("unknown message type: ")
        .map(|number| number.parse::<u8>().expect("a message type"));
    match go_text {
        _ if unknown_type.is_some() => {
            matches!(error, OpenError::UnknownType(kind) if Some(*kind) == unknown_type)
        }
        "replay detected" => matches!(error, OpenError::Replay),
        "chacha20poly1305: message authentication failed" => matches!(error, OpenError::Forged),
        "session id mismatch" => matches!(error, OpenError::Session),
        "unsupported datagram version" => {
            matches!(error, OpenError::Header(HeaderError::Version(_)))
        }
        "invalid datagram magic" => matches!(error, OpenError::Header(HeaderError::Magic)),
        "invalid datagram" => matches!(error, OpenError::Header(HeaderError::TooShort(_))),
        "fragment payload too small" => {
            matches!(error, OpenError::Fragment(FragmentError::TooShort(_)))
        }
        "invalid fragment total" => matches!(error, OpenError::Fragment(FragmentError::TotalZero)),
        "fragment total too large" => {
            matches!(
                error,
                OpenError::Fragment(FragmentError::TotalTooLarge { .. })
            )
        }
        "fragment exceeds total" => {
            matches!(error, OpenError::Fragment(FragmentError::BeyondTotal))
        }
        "fragment overlap" => matches!(error, OpenError::Fragment(FragmentError::Overlap)),
        other => panic!("`{other}` is a reason that this test does not know"),
    }
}
