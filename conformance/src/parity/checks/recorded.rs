//! What the Go programs were recorded to accept and to refuse: request bodies and nonces, each to
//! the byte.

use serde::Deserialize;

use super::{Check, DEFAULT_MTU, Material, post};
use crate::parity::request::{Head, Step};
use crate::parity::table::{BAD_NONCE, BAD_REQUEST, Expect, KEY_DERIVATION};

/// Bytes of a nonce.
const NONCE_LEN: usize = 16;

#[derive(Deserialize)]
struct File<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct Body {
    accepted: bool,
    body_hex: String,
    request: Option<Meaning>,
}

#[derive(Deserialize)]
struct Meaning {
    client_nonce: String,
    mtu: i64,
}

#[derive(Deserialize)]
struct NonceText {
    accepted: bool,
    text: String,
    bytes_hex: Option<String>,
}

pub(super) fn checks(material: &Material<'_>) -> Vec<Check> {
    let head = material.head();
    let bodies: File<Body> =
        serde_json::from_str(include_str!("../../../vectors/connect_request_decode.json"))
            .expect("the recording has its documented shape");
    let nonces: File<NonceText> =
        serde_json::from_str(include_str!("../../../vectors/nonce_base64.json"))
            .expect("the recording has its documented shape");
    let bodies = bodies.cases.iter().enumerate();
    // These cannot make their point without a session.
    let left_out = |check: &Check| material.spares_addresses && check.expect == Expect::Session;
    let nonces = nonces.cases.iter().enumerate();
    bodies
        .map(|(n, case)| body(material, n + 1, case))
        .chain(nonces.map(|(n, case)| nonce(&head, n + 1, case)))
        .filter(|check| !left_out(check))
        .collect()
}

/// Accepted bodies stay open behind their value; refused ones are finished, because some are only
/// unfinished.
fn body(material: &Material<'_>, number: usize, case: &Body) -> Check {
    let group = "recorded request bodies";
    let request = post(&material.head(), &material.spare(from_hex(&case.body_hex)));
    if !case.accepted {
        let name = format!("body {number} is refused");
        let request = request.then(Step::Finish);
        return Check::new(group, name, request, Expect::Refused(BAD_REQUEST));
    }
    let meaning = case.request.as_ref();
    let (expect, mtu) = match meaning {
        Some(meaning) if !meaning.client_nonce.is_empty() => (material.accepted(), meaning.mtu),
        // Read, understood, and without a nonce: the next step is the one that fails.
        _ => (Expect::Refused(KEY_DERIVATION), DEFAULT_MTU),
    };
    Check::new(group, format!("body {number} is accepted"), request, expect).mtu(mtu)
}

fn nonce(head: &Head, number: usize, case: &NonceText) -> Check {
    let body = serde_json::json!({ "version": 1, "client_nonce": case.text, "mtu": DEFAULT_MTU })
        .to_string();
    let length = case.bytes_hex.as_ref().map(|hex| hex.len() / 2);
    let (name, expect) = match length {
        Some(NONCE_LEN) if case.accepted => ("opens a session", Expect::Session),
        _ if case.accepted => ("has another length", Expect::Refused(KEY_DERIVATION)),
        _ => ("is not a nonce", Expect::Refused(BAD_NONCE)),
    };
    Check::new(
        "recorded nonces",
        format!("nonce {number} {name}"),
        post(head, body.as_bytes()),
        expect,
    )
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|n| {
            u8::from_str_radix(&text[2 * n..2 * n + 2], 16).expect("the recording is hexadecimal")
        })
        .collect()
}
