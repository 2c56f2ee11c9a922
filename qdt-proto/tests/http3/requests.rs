//! Requests as the server reads them and as the client writes them.

use qdt_proto::http3::{
    MAX_FIELD_VALUE, MAX_HEADERS_PAYLOAD, RequestEvent, RequestStream, Scope, code, encode_request,
};

use crate::support::{
    DATA, GREASE, HEADERS, POST, frame, headers, post_with, read_request, section, text_fields,
    varint,
};

fn error_of(chunks: &[&[u8]], fin: bool) -> (u64, Scope) {
    let error = read_request(chunks, fin).expect_err("this stream is wrong");
    (error.code, error.scope)
}

fn assert_malformed(fields: &[(&str, &str)]) {
    assert_eq!(
        error_of(&[&headers(fields)], false),
        (code::H3_MESSAGE_ERROR, Scope::Stream),
        "{fields:?}"
    );
}

/// POST with one of its fields replaced, or taken out.
fn post_but(name: &str, value: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    POST.iter()
        .filter_map(|field| {
            if field.0 == name {
                Some((field.0, value?))
            } else {
                Some(*field)
            }
        })
        .collect()
}

#[test]
fn a_request_written_by_the_client_is_read_by_the_server() {
    let token = b"p\xc3\xa4ssw\xf6rt";
    let bytes = encode_request(b"vpn.example:443", b"/connect", token, b"{\"version\":1}");
    let request = read_request(&[&bytes], false).unwrap();
    let head = request.head.unwrap();
    assert_eq!(head.method, b"POST");
    assert_eq!(head.path, b"/connect");
    assert_eq!(head.scheme, b"https");
    assert_eq!(head.authority.as_deref(), Some(&b"vpn.example:443"[..]));
    assert_eq!(head.protocol, None);
    assert_eq!(head.header(b"x-qdt-token"), Some(&token[..]));
    assert_eq!(head.header(b"content-length"), Some(&b"13"[..]));
    assert_eq!(request.body, b"{\"version\":1}");
    assert!(!request.ended);
}

#[test]
fn a_body_is_read_although_content_length_says_zero() {
    let bytes = [post_with(&[("content-length", "0")]), frame(DATA, b"{}")].concat();
    let request = read_request(&[&bytes], false).unwrap();
    assert_eq!(request.body, b"{}");
}

#[test]
fn an_authority_may_lack_or_be_a_bare_ipv6_literal() {
    let request = read_request(&[&headers(&post_but(":authority", None))], false).unwrap();
    assert_eq!(request.head.unwrap().authority, None);
    let bare = headers(&post_but(":authority", Some("2001:db8::1")));
    let request = read_request(&[&bare], false).unwrap();
    assert_eq!(
        request.head.unwrap().authority.as_deref(),
        Some(&b"2001:db8::1"[..])
    );
    let bytes = encode_request(b"", b"/connect", b"t", b"");
    assert_eq!(
        read_request(&[&bytes], false)
            .unwrap()
            .head
            .unwrap()
            .authority,
        None
    );
}

#[test]
fn an_extended_connect_passes_its_protocol_through_whatever_it_is() {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "connect-ip"),
        (":scheme", "https"),
        (":authority", "vpn.example"),
        (":path", "/.well-known/masque/ip/*/*/"),
    ];
    let head = read_request(&[&headers(&fields)], false)
        .unwrap()
        .head
        .unwrap();
    assert_eq!(head.protocol.as_deref(), Some(&b"connect-ip"[..]));
    assert_eq!(head.path, b"/.well-known/masque/ip/*/*/");
    for missing in [":scheme", ":authority", ":path"] {
        let fields: Vec<_> = fields
            .into_iter()
            .filter(|field| field.0 != missing)
            .collect();
        assert_malformed(&fields);
    }
}

#[test]
fn a_plain_connect_names_its_target_in_authority_alone() {
    let fields = [(":method", "CONNECT"), (":authority", "example.com:22")];
    let head = read_request(&[&headers(&fields)], false)
        .unwrap()
        .head
        .unwrap();
    assert_eq!((head.method, head.path), (b"CONNECT".to_vec(), vec![]));
    assert_malformed(&fields[..1]);
    assert_malformed(&post_but(":method", Some("CONNECT")));
}

#[test]
fn header_values_are_bytes_and_stay_in_order() {
    let bytes = post_with(&[
        ("x-a", "1"),
        ("x-qdt-token", "first"),
        ("x-qdt-token", "second"),
    ]);
    let head = read_request(&[&bytes], false).unwrap().head.unwrap();
    assert_eq!(
        text_fields(&head.headers),
        [
            ("x-a", "1"),
            ("x-qdt-token", "first"),
            ("x-qdt-token", "second")
        ]
    );
    assert_eq!(head.header(b"x-qdt-token"), Some(&b"first"[..]));
    assert_eq!(head.header(b"x-none"), None);
}

#[test]
fn a_request_without_method_scheme_or_path_is_malformed() {
    for name in [":method", ":scheme", ":path"] {
        assert_malformed(&post_but(name, None));
        assert_malformed(&post_but(name, Some("")));
    }
    assert_malformed(&[]);
}

#[test]
fn a_path_begins_with_a_slash_or_is_an_asterisk() {
    for path in ["connect", "https://vpn.example/connect", "?x"] {
        assert_malformed(&post_but(":path", Some(path)));
    }
    for path in ["/", "//", "/connect?x=1", "*"] {
        assert!(read_request(&[&headers(&post_but(":path", Some(path)))], false).is_ok());
    }
}

#[test]
fn pseudo_header_fields_that_are_unknown_doubled_or_late_make_a_request_malformed() {
    for more in [
        (":unknown", "x"),
        (":status", "200"),
        (":", "x"),
        (":Path", "/"),
        (":method", "POST"),
        (":path", "/connect"),
        (":scheme", "https"),
        (":authority", "vpn.example"),
        (":protocol", "connect-ip"),
    ] {
        assert_malformed(&[&POST[..], &[more]].concat());
    }
    for index in 0..POST.len() {
        let mut fields = POST.to_vec();
        let late = fields.remove(index);
        assert_malformed(&[&fields[..], &[("x-a", "1"), late]].concat());
    }
}

#[test]
fn names_that_are_no_lower_case_tokens_make_a_request_malformed() {
    for name in ["X-Qdt-Token", "x a", "", "x:", "caf\u{e9}", "x\0", "(x)"] {
        assert_malformed(&[&POST[..], &[(name, "x")]].concat());
    }
}

#[test]
fn control_characters_in_values_make_a_request_malformed() {
    for value in ["a\0b", "a\rb", "a\nb", "\x7f", "\x1b[0m"] {
        assert_malformed(&[&POST[..], &[("x-a", value)]].concat());
        assert_malformed(&[&POST[1..], &[(":method", value)]].concat());
    }
    assert!(read_request(&[&post_with(&[("x-a", "a\tb \u{e4}")])], false).is_ok());
}

#[test]
fn fields_that_speak_about_a_connection_make_a_request_malformed() {
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ] {
        assert_malformed(&[&POST[..], &[(name, "x")]].concat());
    }
    assert_malformed(&[&POST[..], &[("te", "gzip")]].concat());
    assert!(read_request(&[&post_with(&[("te", "trailers")])], false).is_ok());
}

#[test]
fn unknown_frames_are_skipped_wherever_they_stand() {
    let grease = frame(GREASE, b"whatever");
    let bytes = [
        &grease[..],
        &post_with(&[]),
        &grease,
        &frame(0xf0700, b"\0u=1"),
        &frame(DATA, b"ab"),
        &frame(0x21, b""),
        &frame(DATA, b"cd"),
        &headers(&[("x-trailer", "1")]),
        &grease,
    ]
    .concat();
    let request = read_request(&[&bytes], true).unwrap();
    assert_eq!(
        (request.body.as_slice(), request.ended),
        (&b"abcd"[..], true)
    );
}

#[test]
fn empty_data_frames_are_no_events() {
    let bytes = [
        post_with(&[]),
        frame(DATA, b""),
        frame(DATA, b""),
        frame(DATA, b"x"),
    ]
    .concat();
    let mut stream = RequestStream::new();
    let events: Vec<_> = stream
        .handle(&bytes, true)
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(matches!(
        events[..],
        [
            RequestEvent::Head(_),
            RequestEvent::Body(b"x"),
            RequestEvent::End
        ]
    ));
}

#[test]
fn frames_that_have_no_place_on_a_request_stream_end_the_connection() {
    let unexpected = (code::H3_FRAME_UNEXPECTED, Scope::Connection);
    // Reserved from HTTP/2, then CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID.
    for frame_type in [0x2, 0x6, 0x8, 0x9, 0x3, 0x4, 0x5, 0x7, 0xd] {
        let wrong = frame(frame_type, b"\0");
        assert_eq!(error_of(&[&wrong], false), unexpected);
        assert_eq!(error_of(&[&post_with(&[]), &wrong], false), unexpected);
    }
    assert_eq!(
        error_of(&[&frame(DATA, b"x")], false),
        unexpected,
        "DATA before HEADERS"
    );
    let trailers = headers(&[("x-trailer", "1")]);
    for late in [frame(DATA, b"x"), trailers.clone()] {
        assert_eq!(
            error_of(&[&post_with(&[]), &trailers, &late], false),
            unexpected
        );
    }
}

#[test]
fn trailers_with_pseudo_header_fields_are_malformed() {
    let malformed = (code::H3_MESSAGE_ERROR, Scope::Stream);
    let trailers = headers(&[(":path", "/")]);
    assert_eq!(error_of(&[&post_with(&[]), &trailers], false), malformed);
    let trailers = headers(&[("x-a", "1"), (":path", "/")]);
    assert_eq!(error_of(&[&post_with(&[]), &trailers], false), malformed);
}

#[test]
fn a_stream_that_ends_before_its_head_is_an_incomplete_request() {
    let incomplete = (code::H3_REQUEST_INCOMPLETE, Scope::Stream);
    assert_eq!(error_of(&[b""], true), incomplete);
    assert_eq!(error_of(&[&frame(GREASE, b"x")], true), incomplete);
}

#[test]
fn a_stream_that_ends_within_a_frame_ends_the_connection() {
    let truncated = (code::H3_FRAME_ERROR, Scope::Connection);
    let head = post_with(&[]);
    for bytes in [&head[..1], &head[..2], &head[..head.len() - 1]] {
        assert_eq!(error_of(&[bytes], true), truncated);
    }
    let body = frame(DATA, b"body");
    for len in 1..body.len() {
        assert_eq!(error_of(&[&head, &body[..len]], true), truncated);
    }
    let skipped = frame(GREASE, b"body");
    assert_eq!(error_of(&[&skipped[..skipped.len() - 1]], true), truncated);
}

#[test]
fn a_dynamic_table_reference_ends_the_connection() {
    let bytes = frame(HEADERS, &[1, 0, 0x80]);
    let failed = (code::QPACK_DECOMPRESSION_FAILED, Scope::Connection);
    assert_eq!(error_of(&[&bytes], false), failed);
    assert_eq!(
        error_of(&[&post_with(&[]), &bytes], false),
        failed,
        "in trailers"
    );
}

/// Some clients (quic-go) write every string in Huffman code, whatever it makes of it.
#[test]
fn a_token_of_the_longest_length_is_read_in_its_longest_encoding() {
    let huffman = |text: &[u8]| {
        let mut coded = Vec::new();
        httlib_huffman::encode(text, &mut coded).unwrap();
        coded
    };
    let allowed = (0x20..=0xff_u8).filter(|byte| *byte != 0x7f);
    let longest = allowed
        .max_by_key(|byte| huffman(&[*byte; 8]).len())
        .unwrap();
    assert_eq!(huffman(&[longest; 8]).len(), 28, "28 bits a byte");
    for byte in [b'a', b'~', longest] {
        let token = vec![byte; MAX_FIELD_VALUE];
        let coded = huffman(&token);
        let mut block = section(&POST);
        block.extend_from_slice(b"\x27\x04x-qdt-token");
        // The length of the value behind a prefix of seven bits (RFC 7541 section 5.1).
        block.push(0xff);
        let mut rest = coded.len() - 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 0x80);
            rest /= 128;
        }
        block.push(rest as u8);
        block.extend_from_slice(&coded);
        let request = read_request(&[&frame(HEADERS, &block)], false);
        let head = request.expect("a request").head.expect("its head");
        assert!(head.header(b"x-qdt-token") == Some(&token[..]), "{byte:#x}");
    }
}

#[test]
fn an_announced_header_section_above_the_limit_is_refused_before_it_comes() {
    let too_large = [varint(HEADERS), varint(MAX_HEADERS_PAYLOAD as u64 + 1)].concat();
    let excessive = (code::H3_EXCESSIVE_LOAD, Scope::Stream);
    assert_eq!(error_of(&[&too_large], false), excessive);
    assert_eq!(
        error_of(&[&post_with(&[]), &too_large], false),
        excessive,
        "as trailers"
    );
    let huge = [varint(HEADERS), varint((1 << 62) - 1)].concat();
    assert_eq!(error_of(&[&huge], false), excessive);
}

/// Promise U4: what an unauthenticated peer sends without end does not stay.
#[test]
fn endless_headers_hold_no_more_than_the_announced_section() {
    let mut stream = RequestStream::new();
    let start = [varint(HEADERS), varint(MAX_HEADERS_PAYLOAD as u64)].concat();
    assert_eq!(stream.handle(&start, false).count(), 0);
    assert_eq!(stream.buffered(), 0, "an announcement alone costs nothing");
    for sent in 1..MAX_HEADERS_PAYLOAD {
        assert_eq!(stream.handle(&[0], false).count(), 0);
        assert!(stream.buffered() <= (2 * sent).clamp(8, MAX_HEADERS_PAYLOAD));
    }
    // The last byte completes a section that begins with a dynamic reference.
    let error = stream.handle(&[0], false).next().unwrap().unwrap_err();
    assert_eq!(error.code, code::QPACK_DECOMPRESSION_FAILED);
    assert_eq!(stream.buffered(), 0);
}

#[test]
fn endless_bodies_and_unknown_frames_hold_nothing() {
    for frame_type in [DATA, GREASE] {
        let mut stream = RequestStream::new();
        assert_eq!(stream.handle(&post_with(&[]), false).count(), 1);
        let endless = [varint(frame_type), varint((1 << 62) - 1)].concat();
        assert_eq!(stream.handle(&endless, false).count(), 0);
        for _ in 0..1000 {
            let events = stream.handle(&[0; 4096], false).count();
            assert_eq!(events, usize::from(frame_type == DATA));
            assert_eq!(stream.buffered(), 0);
        }
    }
}

#[test]
fn endless_trailers_are_one_section_and_then_an_error() {
    let trailers = headers(&[("x-trailer", "1")]);
    let mut stream = RequestStream::new();
    assert_eq!(stream.handle(&post_with(&[]), false).count(), 1);
    assert_eq!(stream.handle(&trailers, false).count(), 0);
    assert_eq!(stream.buffered(), 0);
    assert!(stream.handle(&trailers, false).next().unwrap().is_err());
}

#[test]
fn after_an_error_a_stream_gives_the_same_error_again() {
    let mut stream = RequestStream::new();
    let (reserved, request) = (frame(0x2, b""), post_with(&[]));
    let first: Vec<_> = stream.handle(&reserved, false).collect();
    assert!(matches!(first[..], [Err(_)]), "{first:?}");
    let again: Vec<_> = stream.handle(&request, true).collect();
    assert_eq!(again, first);
}

#[test]
fn errors_and_debug_output_hold_no_header_value() {
    let secret = "hunter2hunter2";
    let fields = [&POST[..], &[("x-qdt-token", secret)]].concat();
    let head = read_request(&[&headers(&fields)], false)
        .unwrap()
        .head
        .unwrap();
    let shown = format!("{head:?}");
    assert!(
        shown.contains("x-qdt-token") && !shown.contains(secret),
        "{shown}"
    );

    let wrong = [&fields[..], &[("x-qdt-token\0", secret), (":late", secret)]].concat();
    let error = read_request(&[&headers(&wrong)], false).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret));
    assert!(error.to_string().contains(r"x-qdt-token\x00"), "{error}");

    let mut stream = RequestStream::new();
    let whole = frame(HEADERS, &section(&fields));
    assert_eq!(stream.handle(&whole[..whole.len() - 1], false).count(), 0);
    let shown = format!("{stream:?}");
    assert!(
        shown.contains("buffered") && !shown.contains('['),
        "no list of bytes: {shown}"
    );
}
