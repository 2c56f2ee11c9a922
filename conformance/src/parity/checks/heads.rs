//! The fields of a request: the token above all, and everything that a client may write in more
//! than one way.

use super::{Check, Material, post};
use crate::parity::request::Form;
use crate::parity::table::{Expect, MALFORMED, UNAUTHORIZED};

pub(super) fn checks(material: &Material<'_>) -> Vec<Check> {
    let mut checks = tokens(material);
    checks.extend(forms(material));
    checks
}

/// The field that holds the token.
const FIELD: &str = "x-qdt-token";

fn tokens(material: &Material<'_>) -> Vec<Check> {
    let (head, token) = (material.head(), material.token);
    let with = |value: &[u8]| post(&head.clone().set(FIELD, value), &material.body());
    let longer = [token, b"x"].concat();
    let shorter = &token[..token.len() - 1];
    let mut changed = token.to_vec();
    changed[0] ^= 1;
    let refused = [
        (
            "no token is a wrong one",
            post(&head.clone().without(FIELD), &material.body()),
        ),
        ("an empty token is a wrong one", with(b"")),
        ("another token is a wrong one", with(b"wrong")),
        ("a longer token is a wrong one", with(&longer)),
        ("a shorter token is a wrong one", with(shorter)),
        ("a token with one other bit is a wrong one", with(&changed)),
        (
            "a token of bytes that are no text is a wrong one",
            with(&[0xff, 0xe9, 0x80]),
        ),
        (
            "of two tokens the first counts, and it is wrong",
            post(
                &head.clone().set(FIELD, "wrong").add(FIELD, token),
                &material.body(),
            ),
        ),
        (
            "a token in another field is none",
            post(
                &head.clone().without(FIELD).add("authorization", token),
                &material.body(),
            ),
        ),
    ];
    let mut checks: Vec<Check> = refused
        .into_iter()
        .map(|(name, request)| Check::new("tokens", name, request, Expect::Refused(UNAUTHORIZED)))
        .collect();
    checks.push(Check::new(
        "tokens",
        "of two tokens the first counts, and it is right",
        post(&head.add(FIELD, "wrong"), &material.body()),
        material.accepted(),
    ));
    checks
}

fn forms(material: &Material<'_>) -> Vec<Check> {
    let group = "forms of the head";
    let head = material.head();
    let heads = [
        (
            "a head in Huffman code is read",
            head.clone().form(Form::Huffman),
        ),
        (
            "a head by the static table is read",
            head.clone().form(Form::Table),
        ),
        (
            "unneeded fields are ignored",
            head.clone()
                .add("user-agent", "quic-go HTTP/3")
                .add("content-type", "application/json")
                .add("accept-encoding", "gzip")
                .add("x-unknown", "1"),
        ),
        (
            "te: trailers is allowed",
            head.clone().add("te", "trailers"),
        ),
        (
            "cookies in two fields are allowed",
            head.clone().add("cookie", "a=1").add("cookie", "b=2"),
        ),
        (
            "a value may have bytes that are no text",
            head.clone().add("x-unknown", [0x80, 0xff, 0xe9]),
        ),
        (
            "an empty value is allowed",
            head.clone().add("x-unknown", ""),
        ),
        (
            "a head of some 6 KiB is read",
            head.clone().add("x-unknown", "x".repeat(6000)),
        ),
        (
            "expect: 100-continue does not make the server wait",
            head.clone().add("expect", "100-continue"),
        ),
        (
            "an authority may have a port",
            head.clone().set(":authority", "192.0.2.2:443"),
        ),
        (
            "an authority may be an address without a port",
            head.clone().set(":authority", "192.0.2.2"),
        ),
        (
            "an authority may be an IPv6 address in brackets",
            head.clone().set(":authority", "[2001:db8::2]:443"),
        ),
        (
            "an authority may be a bare IPv6 address",
            head.clone().set(":authority", "2001:db8::2"),
        ),
        (
            "the scheme does not matter",
            head.clone().set(":scheme", "http"),
        ),
        (
            "pseudo-header fields may come in any order",
            head.clone()
                .without(":method")
                .without("x-qdt-token")
                .add(":method", "POST")
                .add("x-qdt-token", material.token),
        ),
    ];
    let mut checks: Vec<Check> = heads
        .into_iter()
        .map(|(name, head)| {
            Check::new(
                group,
                name,
                post(&head, &material.body()),
                material.accepted(),
            )
        })
        .collect();
    let hosted = head.clone().without(":authority").add("host", "qdt.test");
    for (name, head) in [
        ("host may stand in place of the authority", hosted),
        (
            "a request may have no authority at all",
            head.without(":authority"),
        ),
    ] {
        let check = Check::new(
            group,
            name,
            post(&head, &material.body()),
            material.accepted(),
        );
        checks.push(check.go(MALFORMED));
    }
    checks
}
