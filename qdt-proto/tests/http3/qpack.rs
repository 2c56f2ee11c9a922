//! Field sections (RFC 9204) and the two primitives under them (RFC 7541 section 5).

use qdt_proto::http3::{
    FieldSectionEncoder, Http3Error, MAX_HEADER_SECTION, Scope, code, decode_field_section,
};

use crate::support::{section, text_fields, unhex};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn decode(block: &[u8]) -> Result<Fields, Http3Error> {
    decode_field_section(block, MAX_HEADER_SECTION)
}

fn assert_fails(block: &str) {
    let error = decode(&unhex(block)).expect_err(block);
    assert_eq!(
        (error.code, error.scope),
        (code::QPACK_DECOMPRESSION_FAILED, Scope::Connection)
    );
}

#[test]
fn the_literal_field_line_of_rfc_9204_appendix_b_1_decodes() {
    let fields = decode(&unhex("0000 510b 2f69 6e64 6578 2e68 746d 6c")).unwrap();
    assert_eq!(text_fields(&fields), [(":path", "/index.html")]);
}

#[test]
fn sections_of_rfc_9204_appendix_b_that_need_the_dynamic_table_are_refused() {
    // B.2 (post-base references), B.4 (with a static line), B.5's relative references.
    for block in ["0381 1011", "0500 80c1 81", "0200 80"] {
        assert_fails(block);
    }
}

#[test]
fn strings_of_rfc_7541_appendix_c_4_decode_from_their_huffman_code() {
    for (coded, text) in [
        ("8cf1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
        ("86a8eb10649cbf", "no-cache"),
        ("8825a849e95ba97d7f", "custom-key"),
        ("8925a849e95bb8e8b4bf", "custom-value"),
    ] {
        let fields = decode(&unhex(&format!("0000 50 {coded}"))).unwrap();
        assert_eq!(text_fields(&fields), [(":authority", text)]);
    }
}

#[test]
fn integers_of_rfc_7541_appendix_c_1_decode_as_string_lengths() {
    // A literal name with a 3-bit prefix: 1337 = 7 + 1330, written as 0xb2 0x0a.
    let name = vec![b'n'; 1337];
    let block = [&[0, 0, 0x27, 0xb2, 0x0a][..], &name, &[0]].concat();
    assert_eq!(decode(&block).unwrap(), [(name, vec![])]);
}

#[test]
fn every_row_of_the_static_table_is_found_again_by_its_encoding() {
    let mut rows = std::collections::BTreeSet::new();
    for index in 0u8..99 {
        let line = if index < 63 {
            vec![0xc0 | index]
        } else {
            vec![0xff, index - 63]
        };
        let block = [&[0, 0][..], &line].concat();
        let fields = decode(&block).unwrap();
        let mut encoder = FieldSectionEncoder::new();
        encoder.field(&fields[0].0, &fields[0].1);
        assert_eq!(encoder.finish(), block);
        rows.insert(fields);
    }
    assert_eq!(rows.len(), 99);
    assert_fails("0000 ff24");
}

#[test]
fn references_to_the_dynamic_table_are_refused() {
    for block in [
        "0100",      // Required Insert Count 1
        "0000 80",   // indexed, T = 0
        "0000 10",   // indexed, after the base
        "0000 4000", // literal, name by a dynamic row
        "0000 0000", // literal, name after the base
    ] {
        assert_fails(block);
    }
}

#[test]
fn broken_field_sections_are_refused() {
    for block in [
        "",                                // no prefix
        "00",                              // no base
        "0080",                            // negative base
        "0000 ff",                         // index without its second byte
        "0000 51",                         // name without a value
        "0000 510b 2f",                    // value longer than the section
        "0000 27ffffffffffffffff7f",       // name of 2^62 bytes and more
        "0000 ffffffffffffffffffffffff01", // integer that never ends
        "0000 5f",                         // static name index without its second byte
    ] {
        assert_fails(block);
    }
}

#[test]
fn a_large_but_valid_delta_base_is_accepted() {
    let fields = decode(&unhex("007f80 01 c1")).unwrap();
    assert_eq!(text_fields(&fields), [(":path", "/")]);
}

#[test]
fn huffman_padding_must_be_fewer_than_eight_ones() {
    // 'a' is 00011; three bits of padding follow.
    assert!(decode(&unhex("0000 50 81 1f")).is_ok());
    for padded in [
        "50 81 18",
        "50 81 1b",
        "50 81 1e",
        "50 82 1fff",
        "50 81 ff",
        "50 82 ffff",
    ] {
        assert_fails(&format!("0000 {padded}"));
    }
    // EOS itself, and a code that has no symbol behind it.
    assert_fails("0000 50 84 ffffffff");
    assert_fails("0000 50 84 fffffffc");
}

#[test]
fn every_one_and_two_byte_string_survives_the_huffman_code() {
    for first in 0..=255u8 {
        for second in 0..=255u8 {
            let value = [first, second];
            let mut encoder = FieldSectionEncoder::new();
            encoder.field(&value[..1], &[first; 5]);
            encoder.field(b"a-name", &value);
            encoder.secret(b"a-secret", &value);
            let fields = decode(&encoder.finish()).unwrap();
            assert_eq!(fields[0], (vec![first], vec![first; 5]));
            assert_eq!(fields[1], (b"a-name".to_vec(), value.to_vec()));
            assert_eq!(fields[2], (b"a-secret".to_vec(), value.to_vec()));
        }
    }
}

#[test]
fn a_secret_is_a_never_indexed_literal_that_stands_in_clear() {
    let mut encoder = FieldSectionEncoder::new();
    encoder.secret(b"x-qdt-token", b"aaaaaaaaaaaaaaaa");
    let block = encoder.finish();
    // RFC 9204 section 4.5.6: 001NHxxx with N = 1.
    assert_eq!(block[2] & 0b1111_0000, 0b0011_0000);
    assert!(block.ends_with(b"\x10aaaaaaaaaaaaaaaa"));
}

#[test]
fn a_section_may_be_as_large_as_its_limit_and_not_larger() {
    // Each field counts its name, its value and 32 bytes (RFC 9114 section 4.2.2).
    let block = section(&[("abc", "defgh"), (":path", "/")]);
    assert!(decode_field_section(&block, 3 + 5 + 32 + 5 + 1 + 32).is_ok());
    let error = decode_field_section(&block, 3 + 5 + 32 + 5 + 1 + 31).unwrap_err();
    assert_eq!(
        (error.code, error.scope),
        (code::H3_EXCESSIVE_LOAD, Scope::Stream)
    );
}

#[test]
fn many_short_references_cannot_unfold_beyond_the_limit() {
    let block = [vec![0, 0], vec![0xd1; MAX_HEADER_SECTION - 2]].concat();
    let error = decode(&block).unwrap_err();
    assert_eq!(
        (error.code, error.scope),
        (code::H3_EXCESSIVE_LOAD, Scope::Stream)
    );
}

#[test]
fn the_encoder_does_not_show_what_it_holds() {
    let mut encoder = FieldSectionEncoder::new();
    encoder.secret(b"x-qdt-token", b"hunter2hunter2hunter2");
    assert_eq!(format!("{encoder:?}"), "FieldSectionEncoder { len: 35 }");
}
