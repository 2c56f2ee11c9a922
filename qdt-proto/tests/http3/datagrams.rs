//! Quarter stream ids and variable-length integers (RFC 9297 section 2.1, RFC 9000 section 16).

use qdt_proto::http3::{
    EncodedVarint, MAX_QUARTER_STREAM_ID, MAX_VARINT, Scope, code, datagram_prefix, decode_varint,
    http_date, quarter_stream_id, split_datagram,
};

use crate::support::{unhex, varint};

#[test]
fn the_examples_of_rfc_9000_appendix_a_1_decode_to_their_values() {
    for (bytes, value) in [
        ("c2197c5eff14e88c", 151_288_809_941_952_652),
        ("9d7f3e7d", 494_878_333),
        ("7bbd", 15_293),
        ("25", 37),
        ("4025", 37),
    ] {
        let bytes = unhex(bytes);
        assert_eq!(decode_varint(&bytes), Some((value, bytes.len())));
        assert_eq!(decode_varint(&bytes[..bytes.len() - 1]), None);
    }
}

#[test]
fn every_varint_is_written_in_its_shortest_form_and_read_back() {
    for (value, len) in [
        (0, 1),
        (63, 1),
        (64, 2),
        (16_383, 2),
        (16_384, 4),
        ((1 << 30) - 1, 4),
        (1 << 30, 8),
        (MAX_VARINT, 8),
    ] {
        assert_eq!(varint(value).len(), len);
        assert_eq!(decode_varint(&varint(value)), Some((value, len)));
    }
    assert_eq!(EncodedVarint::new(MAX_VARINT + 1), None);
}

#[test]
fn a_datagram_prefix_names_the_stream_that_the_datagram_is_split_to() {
    for stream_id in [0, 4, 252, 256, 65_536, (1 << 62) - 4] {
        let payload = [datagram_prefix(stream_id).as_slice(), b"inner"].concat();
        assert_eq!(split_datagram(&payload), Ok((stream_id, &b"inner"[..])));
        assert_eq!(
            decode_varint(&payload).map(|(q, _)| q),
            Some(quarter_stream_id(stream_id))
        );
    }
}

#[test]
fn a_datagram_may_carry_no_payload_but_must_carry_its_quarter_stream_id() {
    assert_eq!(split_datagram(&[0]), Ok((0, &[][..])));
    for payload in [&[][..], &[0x40], &[0xc0, 0, 0, 0, 0, 0, 0]] {
        let error = split_datagram(payload).unwrap_err();
        assert_eq!(
            (error.code, error.scope),
            (code::H3_DATAGRAM_ERROR, Scope::Connection)
        );
    }
}

#[test]
fn a_quarter_stream_id_above_2_to_the_60th_ends_the_connection() {
    assert!(split_datagram(&varint(MAX_QUARTER_STREAM_ID)).is_ok());
    let error = split_datagram(&varint(MAX_QUARTER_STREAM_ID + 1)).unwrap_err();
    assert_eq!(
        (error.code, error.scope),
        (code::H3_DATAGRAM_ERROR, Scope::Connection)
    );
}

#[test]
fn dates_are_written_as_imf_fixdate() {
    // The example of RFC 9110 section 5.6.7.
    assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
}
