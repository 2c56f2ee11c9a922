//! What the tests share: recorded vectors, hexadecimal text, keys and a beginning of time.

use std::time::Instant;

use qdt_proto::handshake::{DirectionKeys, Nonce, SessionKeys};
use serde_json::Value;

/// Reads one file of recordings, the whole of it.
pub(crate) fn vector_file(name: &str) -> Value {
    let path = format!(
        "{}/../conformance/vectors/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The list `cases` of a file of recordings; an empty one would prove nothing.
pub(crate) fn vector_cases(name: &str) -> Vec<Value> {
    let cases = vector_file(name)["cases"]
        .as_array()
        .expect("a list of cases")
        .clone();
    assert!(!cases.is_empty(), "{name}.json has no cases");
    cases
}

pub(crate) fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{field}` in {case}"))
}

/// A number that stands as a number or, for the sake of 64 bits, as text.
pub(crate) fn number(case: &Value, field: &str) -> u64 {
    let value = &case[field];
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("no number `{field}` in {case}"))
}

pub(crate) fn bytes(case: &Value, field: &str) -> Vec<u8> {
    from_hex(text(case, field))
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd number of digits: {text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

/// The keys that follow from the token and nonces of a case.
pub(crate) fn session_keys(case: &Value) -> SessionKeys {
    let nonce = |field| Nonce::from_bytes(bytes(case, field).try_into().expect("16 bytes"));
    SessionKeys::derive(
        text(case, "token").as_bytes(),
        &nonce("client_nonce_hex"),
        &nonce("server_nonce_hex"),
    )
    .expect("the token is not empty")
}

/// Keys for tests that need any.
pub(crate) fn some_keys() -> DirectionKeys {
    let mut key = [0; DirectionKeys::KEY_LEN];
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = 7 * index as u8 + 1;
    }
    DirectionKeys::new(key, [1, 2, 3, 4])
}

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from the clock only"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
