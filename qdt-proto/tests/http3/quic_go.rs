//! What quic-go v0.58.0 puts on the wire, recorded by `tests/data/quic_go/main.go`.

use qdt_proto::http3::{
    CriticalStreams, MAX_HEADER_SECTION, Settings, Side, UniStream, decode_field_section,
};
use serde_json::Value;

use crate::support::{read_request, read_response, text_fields, unhex};

fn capture() -> Value {
    serde_json::from_str(include_str!("../data/quic_go/capture.json")).expect("JSON")
}

fn bytes(value: &Value) -> Vec<u8> {
    unhex(value.as_str().expect("hex text"))
}

fn settings(streams: &Value) -> Settings {
    let streams = streams.as_array().expect("a list");
    assert!(!streams.is_empty());
    let mut critical = CriticalStreams::default();
    let found: Vec<Settings> = streams
        .iter()
        .filter_map(|stream| {
            UniStream::new(Side::Server)
                .handle(&mut critical, &bytes(stream), false)
                .expect("quic-go keeps the rules")
        })
        .collect();
    assert_eq!(found.len(), 1);
    found[0]
}

#[test]
fn every_recorded_field_section_decodes_to_its_fields() {
    let capture = capture();
    let sections = capture["sections"].as_array().unwrap();
    assert!(!sections.is_empty());
    for section in sections {
        let expected: Vec<(Vec<u8>, Vec<u8>)> = section["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| (bytes(&field[0]), bytes(&field[1])))
            .collect();
        let block = bytes(&section["block"]);
        assert_eq!(
            decode_field_section(&block, MAX_HEADER_SECTION).unwrap(),
            expected
        );
    }
}

#[test]
fn the_recorded_client_announces_datagrams() {
    assert!(settings(&capture()["client_uni"]).datagrams);
}

#[test]
fn the_recorded_client_request_is_read_with_content_length_zero_and_a_body() {
    let capture = capture();
    let request = read_request(&[&bytes(&capture["client_bidi"])], false).unwrap();
    let head = request.head.unwrap();
    assert_eq!(
        (head.method.as_slice(), head.path.as_slice()),
        (&b"POST"[..], &b"/connect"[..])
    );
    assert_eq!(head.authority.as_deref(), Some(&b"2001:db8::1"[..]));
    assert_eq!(
        head.header(b"x-qdt-token"),
        Some(&b"kq8Jd1Zx3nT0pYv5wB7cLh2mRs4uEa6gFi9oKj_N-Q4"[..])
    );
    assert_eq!(head.header(b"content-length"), Some(&b"0"[..]));
    assert_eq!(
        request.body,
        capture["client_body"].as_str().unwrap().as_bytes()
    );
    assert!(!request.ended);
}

#[test]
fn the_recorded_server_announces_datagrams() {
    let settings = settings(&capture()["server_uni"]);
    assert!(settings.datagrams);
    assert_eq!(settings.max_field_section_size, Some(1 << 20));
}

#[test]
fn the_recorded_server_responses_are_read_and_have_the_shape_that_ours_have() {
    let capture = capture();
    let responses = capture["responses"].as_array().unwrap();
    assert!(!responses.is_empty());
    for recorded in responses {
        let theirs = read_response(&[&bytes(&recorded["stream"])], true).unwrap();
        let head = theirs.head.as_ref().unwrap();
        let date = str::from_utf8(head.header(b"date").unwrap()).unwrap();
        let ours = if head.status == 200 {
            qdt_proto::http3::encode_success(date, &theirs.body)
        } else {
            let message = match head.status {
                404 => "404 page not found",
                405 => "method not allowed",
                503 => "server busy",
                other => panic!("no message known for {other}"),
            };
            let head_request = recorded["method"] == "HEAD";
            qdt_proto::http3::encode_refusal(head.status, message, date, head_request)
        };
        let ours = read_response(&[&ours], true).unwrap();
        let sorted = |response: &crate::support::Response| {
            let mut fields = text_fields(&response.head.as_ref().unwrap().headers)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect::<Vec<_>>();
            // quic-go writes its fields in random order.
            fields.sort();
            fields
        };
        assert_eq!(sorted(&ours), sorted(&theirs), "{}", recorded["name"]);
        assert_eq!(ours.body, theirs.body);
    }
}
