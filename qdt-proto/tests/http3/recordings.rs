//! What other implementations put on the wire: quic-go v0.58.0 (`tests/data/quic_go/main.go`) and
//! aioquic 1.7.2 (`tests/data/aioquic/main.py`).

use qdt_proto::http3::{
    CriticalStreams, MAX_HEADER_SECTION, Settings, Side, UniStream, decode_field_section,
    encode_refusal, encode_success,
};
use serde_json::Value;

use crate::support::{Response, read_request, read_response, text_fields, unhex};

fn quic_go() -> Value {
    serde_json::from_str(include_str!("../data/quic_go/capture.json")).expect("JSON")
}

fn aioquic() -> Value {
    serde_json::from_str(include_str!("../data/aioquic/capture.json")).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    let list = value.as_array().expect("a list");
    assert!(!list.is_empty());
    list
}

fn bytes(value: &Value) -> Vec<u8> {
    unhex(value.as_str().expect("hex text"))
}

/// The settings that the unidirectional streams of one connection announce.
fn settings(side: Side, streams: &Value) -> Settings {
    let mut critical = CriticalStreams::default();
    let found: Vec<Settings> = list(streams)
        .iter()
        .filter_map(|stream| {
            UniStream::new(side)
                .handle(&mut critical, &bytes(stream), false)
                .expect("a peer that keeps the rules")
        })
        .collect();
    assert_eq!(found.len(), 1);
    found[0]
}

#[test]
fn every_recorded_field_section_decodes_to_its_fields() {
    for section in list(&quic_go()["sections"]) {
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
fn the_recorded_peers_announce_datagrams() {
    for capture in [quic_go(), aioquic()] {
        assert!(settings(Side::Server, &capture["client_uni"]).datagrams);
        assert!(settings(Side::Client, &capture["server_uni"]).datagrams);
    }
}

#[test]
fn the_recorded_quic_go_request_is_read_with_content_length_zero_and_a_body() {
    let capture = quic_go();
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
fn the_recorded_aioquic_request_is_read_with_its_token_in_bytes() {
    let capture = aioquic();
    let request = read_request(&[&bytes(&capture["client_bidi"])], false).unwrap();
    let head = request.head.unwrap();
    assert_eq!(head.path, b"/connect?x=1");
    assert_eq!(head.authority.as_deref(), Some(&b"vpn.example:4433"[..]));
    assert_eq!(
        head.header(b"x-qdt-token"),
        Some(&b"p\xc3\xa4ssw\xc3\xb6rt"[..])
    );
    assert_eq!(
        request.body,
        capture["client_body"].as_str().unwrap().as_bytes()
    );
}

#[test]
fn the_recorded_responses_are_read_and_have_the_shape_that_ours_have() {
    for capture in [quic_go(), aioquic()] {
        for recorded in list(&capture["responses"]) {
            let theirs = read_response(&[&bytes(&recorded["stream"])], true).unwrap();
            let head = theirs.head.as_ref().unwrap();
            let fields = text_fields(&head.headers);
            let (_, date) = fields.iter().find(|(name, _)| *name == "date").unwrap();
            let ours = if head.status == 200 {
                encode_success(date, &theirs.body)
            } else {
                let message = match head.status {
                    401 => "unauthorized",
                    404 => "404 page not found",
                    405 => "method not allowed",
                    503 => "server busy",
                    other => panic!("no message known for {other}"),
                };
                encode_refusal(head.status, message, date, recorded["method"] == "HEAD")
            };
            let ours = read_response(&[&ours], true).unwrap();
            assert_eq!(sorted(&ours), sorted(&theirs), "{}", recorded["name"]);
            assert_eq!(ours.body, theirs.body);
        }
    }
}

/// A response's fields by name: quic-go writes them in random order.
fn sorted(response: &Response) -> Vec<(&str, &str)> {
    let mut fields = text_fields(&response.head.as_ref().expect("a head").headers);
    fields.sort_unstable();
    fields
}
