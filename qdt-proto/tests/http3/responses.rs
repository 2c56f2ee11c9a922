//! Responses as the server writes them and as the client reads them.

use qdt_proto::http3::{
    MAX_HEADERS_PAYLOAD, MAX_RESPONSE_BODY, ResponseStream, Scope, code, encode_refusal,
    encode_response, encode_success,
};

use crate::support::{DATA, GREASE, HEADERS, frame, headers, read_response, text_fields, varint};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn error_of(chunks: &[&[u8]], fin: bool) -> (u64, Scope) {
    let error = read_response(chunks, fin).expect_err("this stream is wrong");
    (error.code, error.scope)
}

#[test]
fn a_success_carries_status_and_date_and_stays_open() {
    let response = read_response(&[&encode_success(DATE, b"{\"version\":1}\n")], false).unwrap();
    let head = response.head.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(text_fields(&head.headers), [("date", DATE)]);
    assert_eq!(
        (response.body.as_slice(), response.ended),
        (&b"{\"version\":1}\n"[..], false)
    );
}

#[test]
fn a_refusal_is_plain_text_with_its_length() {
    for (status, message, length) in [
        (400, "bad request", "12"),
        (401, "unauthorized", "13"),
        (404, "404 page not found", "19"),
        (405, "method not allowed", "19"),
        (429, "rate limited", "13"),
        (500, "key derivation error", "21"),
        (503, "server busy", "12"),
    ] {
        let bytes = encode_refusal(status, message, DATE, false);
        let response = read_response(&[&bytes], true).unwrap();
        let head = response.head.unwrap();
        assert_eq!(head.status, status);
        assert_eq!(
            text_fields(&head.headers),
            [
                ("content-type", "text/plain; charset=utf-8"),
                ("x-content-type-options", "nosniff"),
                ("content-length", length),
                ("date", DATE),
            ]
        );
        assert_eq!(response.body, format!("{message}\n").as_bytes());
        assert!(response.ended);
    }
}

#[test]
fn a_refusal_of_a_head_request_names_the_length_of_a_body_that_it_does_not_have() {
    let bytes = encode_refusal(405, "method not allowed", DATE, true);
    let response = read_response(&[&bytes], true).unwrap();
    let fields = response.head.unwrap().headers;
    assert!(text_fields(&fields).contains(&("content-length", "19")));
    assert_eq!(response.body, b"");
}

#[test]
fn interim_responses_are_skipped() {
    let bytes = [
        headers(&[(":status", "100")]),
        headers(&[(":status", "103"), ("link", "</x>")]),
        encode_response(200, &[], Some(b"ok")),
    ]
    .concat();
    let response = read_response(&[&bytes], true).unwrap();
    assert_eq!(
        (response.head.unwrap().status, response.body),
        (200, b"ok".to_vec())
    );
}

#[test]
fn a_response_of_interim_ones_only_is_malformed() {
    let interim = headers(&[(":status", "100")]);
    assert_eq!(
        error_of(&[&interim], true),
        (code::H3_MESSAGE_ERROR, Scope::Stream)
    );
    assert_eq!(
        error_of(&[b""], true),
        (code::H3_MESSAGE_ERROR, Scope::Stream)
    );
    let body = frame(DATA, b"x");
    assert_eq!(
        error_of(&[&interim, &body], false),
        (code::H3_FRAME_UNEXPECTED, Scope::Connection)
    );
}

#[test]
fn a_status_is_one_number_of_three_digits_and_not_101() {
    for fields in [
        &[][..],
        &[("date", DATE)],
        &[(":status", "")],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "+20")],
        &[(":status", "2 0")],
        &[(":status", "099")],
        &[(":status", "101")],
        &[(":status", "200"), (":status", "200")],
        &[(":status", "200"), (":path", "/")],
        &[("date", DATE), (":status", "200")],
        &[(":status", "200"), ("Date", DATE)],
        &[(":status", "200"), ("connection", "close")],
    ] {
        let malformed = (code::H3_MESSAGE_ERROR, Scope::Stream);
        assert_eq!(
            error_of(&[&headers(fields)], false),
            malformed,
            "{fields:?}"
        );
    }
}

#[test]
fn a_body_may_have_4096_bytes_in_any_frames_and_no_more() {
    let head = headers(&[(":status", "200")]);
    let half = frame(DATA, &[b' '; MAX_RESPONSE_BODY / 2]);
    let response = read_response(&[&head, &half, &half], false).unwrap();
    assert_eq!(response.body.len(), MAX_RESPONSE_BODY);
    let excessive = (code::H3_EXCESSIVE_LOAD, Scope::Stream);
    assert_eq!(
        error_of(&[&head, &half, &half, &frame(DATA, b" ")], false),
        excessive
    );
    assert_eq!(
        error_of(
            &[&head, &frame(DATA, &[b' '; MAX_RESPONSE_BODY + 1])],
            false
        ),
        excessive
    );
}

#[test]
fn unknown_frames_and_trailers_are_skipped() {
    let bytes = [
        frame(GREASE, b"x"),
        headers(&[(":status", "200")]),
        frame(GREASE, &[0; 100]),
        frame(DATA, b"{}"),
        headers(&[("x-trailer", "1")]),
    ]
    .concat();
    let response = read_response(&[&bytes], true).unwrap();
    assert_eq!((response.body, response.ended), (b"{}".to_vec(), true));
}

#[test]
fn a_push_that_nobody_allowed_ends_the_connection() {
    let promise = frame(0x5, b"\0\0\0");
    assert_eq!(
        error_of(&[&promise], false),
        (code::H3_ID_ERROR, Scope::Connection)
    );
}

/// Promise H10: a hostile server cannot fill the client's memory.
#[test]
fn endless_interim_responses_hold_nothing() {
    let interim = headers(&[(":status", "103"), ("link", "</x>")]);
    let mut stream = ResponseStream::new();
    for _ in 0..1000 {
        assert_eq!(stream.handle(&interim, false).count(), 0);
        assert_eq!(stream.buffered(), 0);
    }
    let large = [varint(HEADERS), varint(MAX_HEADERS_PAYLOAD as u64 + 1)].concat();
    let error = stream.handle(&large, false).next().unwrap().unwrap_err();
    assert_eq!(
        (error.code, error.scope),
        (code::H3_EXCESSIVE_LOAD, Scope::Stream)
    );
}
