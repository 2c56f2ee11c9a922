//! How bodies that a peer sent are read: the rules of Go's `encoding/json`, one by one, and what
//! tells an unfinished body from a wrong one.

use proptest::prelude::*;
use qdt_proto::handshake::{BadMessage, ConnectRequest, ConnectResponse, DecodeError, MAX_BODY};

fn decode(body: &str) -> Result<ConnectRequest, DecodeError> {
    ConnectRequest::decode(body.as_bytes())
}

fn accepted(body: &str) -> ConnectRequest {
    decode(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn bad(body: &str) -> BadMessage {
    match decode(body) {
        Err(DecodeError::Bad(bad)) => bad,
        other => panic!("{other:?}: {body}"),
    }
}

const ACCEPTABLE: &str = concat!(
    r#" {"version" : 1, "client_nonce":"r1PcM/V/7a1PEpqZGM8NNQ","mtu":-12 ,"caps":["a",null,"b"],"#,
    r#""x":{"y":[[],{},true,false,null,-1.25e+10,0,{"z":"\u00e9\"\\\n"}],"":0.5},"client_id":"n"}"#
);

#[test]
fn every_beginning_of_an_acceptable_body_is_incomplete_and_bytes_after_it_do_not_matter() {
    let whole = accepted(ACCEPTABLE);
    for length in 0..ACCEPTABLE.len() {
        let beginning = ConnectRequest::decode(&ACCEPTABLE.as_bytes()[..length]);
        assert_eq!(beginning, Err(DecodeError::Incomplete), "{length} bytes");
    }
    for after in ["x", "{", "\0", r#"{"version":2}"#, "}", ","] {
        assert_eq!(accepted(&format!("{ACCEPTABLE}{after}")), whole);
    }
}

#[test]
fn no_byte_of_an_acceptable_body_can_be_replaced_by_a_bell_without_being_noticed() {
    // U+0007 is allowed nowhere in JSON, so each replacement must be a syntax error at its place.
    for at in 0..ACCEPTABLE.len() {
        let mut body = ACCEPTABLE.as_bytes().to_vec();
        body[at] = 7;
        let refused = ConnectRequest::decode(&body);
        assert_eq!(
            refused,
            Err(DecodeError::Bad(BadMessage::Syntax { at })),
            "{at}"
        );
    }
}

#[test]
fn a_body_must_be_complete_within_4096_bytes() {
    let filled = |length: usize| {
        let frame = r#"{"version":1,"client_id":""}"#;
        format!(
            r#"{{"version":1,"client_id":"{}"}}"#,
            "a".repeat(length - frame.len())
        )
    };
    assert_eq!(filled(MAX_BODY).len(), 4096);
    assert_eq!(accepted(&filled(MAX_BODY)).client_id.len(), 4096 - 28);
    assert_eq!(bad(&filled(MAX_BODY + 1)), BadMessage::TooLong);
    assert_eq!(bad(&" ".repeat(MAX_BODY)), BadMessage::TooLong);
    assert_eq!(
        decode(&" ".repeat(MAX_BODY - 1)),
        Err(DecodeError::Incomplete)
    );
    assert_eq!(decode(""), Err(DecodeError::Incomplete));
}

#[test]
fn nesting_as_deep_as_the_body_allows_overflows_nothing() {
    let levels = 2020;
    for (open, close) in [("[", "]"), (r#"{"":"#, "}")] {
        let levels = levels * 2 / (open.len() + 1);
        let value = format!("{}0{}", open.repeat(levels), close.repeat(levels));
        accepted(&format!(r#"{{"version":1,"x":{value}}}"#));
    }
    assert_eq!(
        bad(&format!(r#"{{"x":{}"#, "[".repeat(5000))),
        BadMessage::TooLong
    );
    let wrong_end = format!(r#"{{"x":{}}}"#, "[".repeat(2000));
    assert_eq!(bad(&wrong_end), BadMessage::Syntax { at: 2005 });
}

#[test]
fn only_an_object_of_version_1_is_a_message() {
    for body in ["null", "not json", "[]", "[1]", "\"x\"", "true", "1", "-1"] {
        assert_eq!(bad(body), BadMessage::NotAnObject, "{body}");
    }
    assert_eq!(bad("{}"), BadMessage::Version(0));
    assert_eq!(bad(r#"{"version":2}"#), BadMessage::Version(2));
    assert_eq!(bad(r#"{"version":1,"version":2}"#), BadMessage::Version(2));
    assert_eq!(bad("\u{feff}{}"), BadMessage::Syntax { at: 0 });
}

#[test]
fn keys_match_by_unicode_case_folding_and_after_unescaping() {
    let request = accepted(
        r#"{"VER\u017fion":1,"Cap\u017F":["ping"],"CLIENT_\u0049D":"a","ſ":1,"mtu ":"not ours"}"#,
    );
    assert_eq!(
        (request.caps.as_slice(), request.client_id.as_str()),
        (&["ping".to_owned()][..], "a")
    );
    // Dotless and dotted i fold to no ASCII letter.
    assert_eq!(bad("{\"versıon\":1}"), BadMessage::Version(0));
    assert_eq!(bad("{\"versİon\":1}"), BadMessage::Version(0));
}

#[test]
fn the_last_duplicate_wins_and_null_leaves_a_field_as_it_is() {
    let request = accepted(
        r#"{"version":1,"mtu":1200,"MTU":900,"mtu":null,"client_id":"a","client_id":"b","version":null}"#,
    );
    assert_eq!((request.mtu, request.client_id.as_str()), (900, "b"));
}

#[test]
fn a_list_is_overwritten_in_place_as_a_go_slice_is() {
    let caps = |list: &str| accepted(&format!(r#"{{"version":1,{list}}}"#)).caps;
    assert_eq!(caps(r#""caps":["a"],"caps":null"#), Vec::<String>::new());
    assert_eq!(caps(r#""caps":["a","b"],"caps":[null]"#), ["a"]);
    assert_eq!(
        caps(r#""caps":["a","b"],"caps":["x"],"caps":[null,null,null]"#),
        ["x", "b", ""]
    );
    assert_eq!(
        caps(r#""caps":["a","b"],"caps":[],"caps":[null,null]"#),
        ["", ""]
    );
}

#[test]
fn a_wrong_type_is_bad_even_where_a_later_duplicate_is_right() {
    for (field, wrong, right) in [
        ("version", r#""1""#, "1"),
        ("version", "256", "1"),
        ("version", "-0", "1"),
        ("version", "1.0", "1"),
        ("version", "1e0", "1"),
        ("mtu", "1350.0", "1350"),
        ("mtu", "9223372036854775808", "1350"),
        ("mtu", "true", "1350"),
        ("client_nonce", "5", r#""x""#),
        ("caps", r#""x""#, "[]"),
        ("caps", r#"["x",1]"#, "[]"),
        ("caps", "{}", "[]"),
        ("client_id", "[]", r#""x""#),
        ("platform", "7", r#""x""#),
    ] {
        let body = format!(r#"{{"version":1,"{field}":{wrong},"{field}":{right}}}"#);
        match bad(&body) {
            BadMessage::WrongType { field: named, .. } => assert_eq!(named, field),
            other => panic!("{other:?}: {body}"),
        }
    }
    assert_eq!(accepted(r#"{"version":1,"mtu":-0}"#).mtu, 1350);
    assert_eq!(
        accepted(r#"{"version":1,"mtu":-9223372036854775808}"#).mtu,
        1350
    );
}

#[test]
fn fields_of_our_own_are_ignored_where_they_hold_something_else() {
    for value in [
        "null",
        "-1",
        "65536",
        "1.5",
        r#""1400""#,
        "[]",
        "{}",
        "true",
    ] {
        let request = accepted(&format!(r#"{{"version":1,"max_mtu":{value}}}"#));
        assert_eq!(request.max_mtu, None, "{value}");
    }
    for value in ["null", "5", "[]", "{}", "false"] {
        let body = format!(r#"{{"version":1,"resume":{value},"max_mtu":1452}}"#);
        let request = accepted(&body);
        assert_eq!(
            (request.resume, request.max_mtu),
            (None, Some(1452)),
            "{value}"
        );
    }
    for (value, caps) in [
        ("null", None),
        ("5", None),
        ("[5]", None),
        ("[]", Some(vec![])),
        (r#"["ping"]"#, Some(vec!["ping".to_owned()])),
    ] {
        let body = format!(r#"{{"version":1,"caps":{value}}}"#);
        assert_eq!(
            ConnectResponse::decode(body.as_bytes()).unwrap().caps,
            caps,
            "{value}"
        );
    }
}

#[test]
fn a_response_that_lies_about_its_types_is_a_typed_error() {
    for (body, field) in [
        (
            r#"{"version":1,"session_id":18446744073709551616}"#,
            "session_id",
        ),
        (r#"{"version":1,"session_id":-1}"#, "session_id"),
        (r#"{"version":1,"dns":"--flag"}"#, "dns"),
        (r#"{"version":1,"cidr":{}}"#, "cidr"),
    ] {
        match ConnectResponse::decode(body.as_bytes()) {
            Err(DecodeError::Bad(BadMessage::WrongType { field: named, .. })) => {
                assert_eq!(named, field);
            }
            other => panic!("{other:?}: {body}"),
        }
    }
    let huge = format!(r#"{{"version":1,"dns":["{}"]}}"#, "a".repeat(1 << 20));
    let refused = ConnectResponse::decode(huge.as_bytes());
    assert_eq!(refused, Err(DecodeError::Bad(BadMessage::TooLong)));
}

#[test]
fn text_that_is_no_unicode_becomes_replacement_characters_one_by_one() {
    let client_id = |raw: &[u8]| {
        let body = [b"{\"version\":1,\"client_id\":\"".as_slice(), raw, b"\"}"].concat();
        ConnectRequest::decode(&body)
            .expect("invalid UTF-8 is accepted")
            .client_id
    };
    assert_eq!(client_id(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    assert_eq!(client_id(b"\xe2\x82a"), "\u{fffd}\u{fffd}a");
    assert_eq!(client_id(b"\xed\xa0\x80"), "\u{fffd}\u{fffd}\u{fffd}");
    assert_eq!(client_id(br"\ud800\u0041"), "\u{fffd}A");
    assert_eq!(client_id(br"\ud800\ud800x"), "\u{fffd}\u{fffd}x");
    assert_eq!(client_id(br"\ud83d\ude00\udc00x"), "\u{1f600}\u{fffd}x");
    assert_eq!(client_id(br"\udbff\n"), "\u{fffd}\n");
    assert_eq!(
        client_id(br#"\"\\\/\b\f\n\r\t\u0000"#),
        "\"\\/\u{8}\u{c}\n\r\t\0"
    );
}

#[test]
fn what_json_forbids_is_a_syntax_error() {
    for body in [
        r#"{"mtu":01}"#,
        r#"{"mtu":+1}"#,
        r#"{"mtu":.5}"#,
        r#"{"mtu":1.}"#,
        r#"{"mtu":1e}"#,
        r#"{"mtu":-}"#,
        r#"{"mtu":0x1}"#,
        r#"{"mtu":1 2}"#,
        r#"{"a":nul}"#,
        r#"{"a":True}"#,
        r#"{"a":'b'}"#,
        r#"{a:1}"#,
        r#"{"a" 1}"#,
        r#"{"a":1,}"#,
        r#"{,}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[1 2]}"#,
        r#"{"a":[1}}"#,
        r#"{"a":{]}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12g4"}"#,
        "{\"a\":\"\t\"}",
        "{\"a\":\"\n\"}",
        "{\u{a0}}",
    ] {
        assert!(matches!(bad(body), BadMessage::Syntax { .. }), "{body}");
    }
    for control in 0..=0x1f_u8 {
        let body = format!("{{\"a\":\"{}\"}}", char::from(control));
        assert_eq!(
            bad(&body),
            BadMessage::Syntax { at: 6 },
            "control character {control}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn unknown_fields_of_any_shape_are_ignored(value in any_json()) {
        let body = format!(r#"{{"x":{value},"version":1,"y":[{value}],"mtu":1000}}"#);
        prop_assume!(body.len() <= MAX_BODY);
        let request = ConnectRequest::decode(body.as_bytes());
        prop_assert_eq!(request.map(|request| request.mtu), Ok(1000));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(
        start in 0..ACCEPTABLE.len(),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut body = ACCEPTABLE.as_bytes().to_vec();
        body.splice(start..(start + noise.len() / 2).min(ACCEPTABLE.len()), noise);
        let _outcome = ConnectRequest::decode(&body);
        let _outcome = ConnectResponse::decode(&body);
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((any::<String>(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
