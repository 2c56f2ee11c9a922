//! Generated input: any chunks give the same events, anything at all is survived within bounds.

use proptest::collection::vec;
use proptest::prelude::*;
use qdt_proto::http3::{
    CriticalStreams, FieldSectionEncoder, Http3Error, MAX_HEADER_SECTION, MAX_HEADERS_PAYLOAD,
    RequestStream, ResponseStream, Scope, Settings, Side, UniStream, decode_field_section,
    encode_request, encode_response, split_datagram,
};

use crate::support::{
    DATA, GREASE, HEADERS, POST, Request, Response, frame, read_request, read_response, section,
};

/// Cuts `bytes` at the places given (taken modulo the length).
fn cut<'a>(bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places
        .iter()
        .map(|place| place % (bytes.len() + 1))
        .collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

/// Streams of frames that are often right: a request's, with noise.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = vec(any::<u8>(), 0..40);
    let one = prop_oneof![
        4 => Just(frame(HEADERS, &section(&POST))),
        2 => Just(frame(HEADERS, &section(&[(":status", "200"), ("date", "x")]))),
        1 => Just(frame(HEADERS, &section(&[(":status", "103")]))),
        1 => Just(frame(HEADERS, &section(&[("x-trailer", "1")]))),
        6 => payload.clone().prop_map(|payload| frame(DATA, &payload)),
        2 => payload.clone().prop_map(|payload| frame(GREASE, &payload)),
        1 => (0u64..0x10, payload.clone()).prop_map(|(kind, payload)| frame(kind, &payload)),
        1 => payload,
    ];
    vec(one, 0..8).prop_map(|frames| frames.concat())
}

fn read_uni(
    side: Side,
    chunks: &[&[u8]],
) -> (Result<Vec<Settings>, Http3Error>, bool, Option<u64>) {
    let mut stream = UniStream::new(side);
    let mut critical = CriticalStreams::default();
    let settings = chunks
        .iter()
        .filter_map(|chunk| stream.handle(&mut critical, chunk, false).transpose())
        .collect();
    (settings, stream.is_ignored(), stream.goaway())
}

fn sides() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

proptest! {
    #[test]
    fn a_request_is_the_same_in_any_chunks(
        bytes in frames(), places in vec(any::<usize>(), 0..12), fin: bool,
    ) {
        let whole = read_request(&[&bytes], fin);
        prop_assert_eq!(read_request(&cut(&bytes, &places), fin), whole);
    }

    #[test]
    fn a_response_is_the_same_in_any_chunks(
        bytes in frames(), places in vec(any::<usize>(), 0..12), fin: bool,
    ) {
        let whole = read_response(&[&bytes], fin);
        prop_assert_eq!(read_response(&cut(&bytes, &places), fin), whole);
    }

    #[test]
    fn a_unidirectional_stream_is_the_same_in_any_chunks(
        side in sides(), kind in 0u8..5, rest in frames(), settings: bool,
        places in vec(any::<usize>(), 0..12),
    ) {
        let settings = if settings { frame(4, &[0x33, 1]) } else { Vec::new() };
        let bytes = [vec![kind], settings, rest].concat();
        let whole = read_uni(side, &[&bytes]);
        let chunked = read_uni(side, &cut(&bytes, &places));
        match (&whole.0, &chunked.0) {
            // Settings that came in an earlier chunk than the error have been given out.
            (Err(error), Err(again)) => prop_assert_eq!(error, again),
            _ => prop_assert_eq!(whole, chunked),
        }
    }

    #[test]
    fn random_bytes_are_survived_within_the_bound(
        chunks in vec(vec(any::<u8>(), 0..3000), 0..12), fin: bool,
    ) {
        let mut request = RequestStream::new();
        let mut response = ResponseStream::new();
        let mut uni = UniStream::new(Side::Server);
        let mut critical = CriticalStreams::default();
        for chunk in &chunks {
            request.handle(chunk, fin).for_each(drop);
            response.handle(chunk, fin).for_each(drop);
            let _ = uni.handle(&mut critical, chunk, fin);
            prop_assert!(request.buffered() <= MAX_HEADERS_PAYLOAD);
            prop_assert!(response.buffered() <= MAX_HEADERS_PAYLOAD);
            let _ = split_datagram(chunk);
            if let Err(error) = decode_field_section(chunk, MAX_HEADER_SECTION) {
                prop_assert!(matches!(error.scope, Scope::Stream | Scope::Connection));
            }
        }
    }

    #[test]
    fn long_header_sections_in_any_chunks_stay_within_the_bound(
        announced in 0..=MAX_HEADERS_PAYLOAD, chunk in 1usize..5000,
    ) {
        let block = [vec![0, 0, 0x27, 0x80, 0x7f], vec![b'n'; announced]].concat();
        let bytes = frame(HEADERS, &block[..announced]);
        let mut stream = RequestStream::new();
        for piece in bytes.chunks(chunk) {
            stream.handle(piece, false).for_each(drop);
            prop_assert!(stream.buffered() <= announced);
        }
    }

    #[test]
    fn fields_survive_encoding(
        fields in vec((vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..200), any::<bool>()), 0..20),
    ) {
        let mut encoder = FieldSectionEncoder::new();
        for (name, value, secret) in &fields {
            if *secret {
                encoder.secret(name, value);
            } else {
                encoder.field(name, value);
            }
        }
        let decoded = decode_field_section(&encoder.finish(), usize::MAX).unwrap();
        let expected: Vec<_> = fields.into_iter().map(|(name, value, _)| (name, value)).collect();
        prop_assert_eq!(decoded, expected);
    }

    #[test]
    fn requests_and_responses_survive_encoding(
        token in vec(0x21u8..0x7f, 0..100), body in vec(any::<u8>(), 0..2000), status in 200u16..1000,
    ) {
        let bytes = encode_request(b"vpn.example", b"/connect", &token, &body);
        let Request { head, body: read, ended } = read_request(&[&bytes], true).unwrap();
        let head = head.unwrap();
        prop_assert_eq!(head.header(b"x-qdt-token"), Some(&token[..]));
        prop_assert!(ended && read == body);

        let bytes = encode_response(status, &[(b"x-value", &token)], Some(&body));
        let Response { head, body: read, ended } = read_response(&[&bytes], true).unwrap();
        let head = head.unwrap();
        prop_assert_eq!(head.status, status);
        prop_assert!(head.headers.contains(&(b"x-value".to_vec(), token)));
        prop_assert!(ended && read == body);
    }
}
