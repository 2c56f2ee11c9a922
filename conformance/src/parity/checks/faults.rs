//! What no client may send. The stream or the connection ends with the code that the RFC names, and
//! nothing counts it.

use super::{Check, Material, post};
use crate::parity::request::{Head, Request, Step};
use crate::parity::table::{BAD_REQUEST, Expect, MALFORMED};

// RFC 9114 section 8.1 and RFC 9204 section 6.
const H3_FRAME_UNEXPECTED: u64 = 0x105;
const H3_FRAME_ERROR: u64 = 0x106;
const H3_REQUEST_INCOMPLETE: u64 = 0x10d;
const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;

const UNEXPECTED: Expect = Expect::ConnectionError(H3_FRAME_UNEXPECTED);

pub(super) fn checks(material: &Material<'_>) -> Vec<Check> {
    let mut checks = heads(material);
    checks.extend(frames(material));
    checks
}

fn heads(material: &Material<'_>) -> Vec<Check> {
    let head = material.head();
    let regular = || head.clone().without("x-qdt-token");
    let heads = [
        (
            "a name with upper case letters",
            head.clone().add("X-Upper", "1"),
        ),
        ("an empty name", head.clone().add("", "1")),
        ("a name with a blank", head.clone().add("x y", "1")),
        ("a zero byte in a value", head.clone().add("x-zero", "a\0b")),
        ("a line feed in a value", head.clone().add("x-line", "a\nb")),
        (
            "a connection header",
            head.clone().add("connection", "close"),
        ),
        (
            "a transfer-encoding",
            head.clone().add("transfer-encoding", "chunked"),
        ),
        ("a te other than trailers", head.clone().add("te", "gzip")),
        ("no method", head.clone().without(":method")),
        ("no path", head.clone().without(":path")),
        ("an empty path", head.clone().set(":path", "")),
        (
            "a path without a slash",
            head.clone().set(":path", "connect"),
        ),
        ("two paths", regular().add(":path", "/connect")),
        (
            "an unknown pseudo-header field",
            regular().add(":unknown", "1"),
        ),
        (
            "a pseudo-header field behind a regular one",
            head.clone().without(":path").add(":path", "/connect"),
        ),
    ];
    let group = "malformed heads";
    let check = |name: &str, head: &Head| {
        let name = format!("{name} makes a request malformed");
        Check::new(group, name, post(head, &material.body()), MALFORMED)
    };
    let mut checks: Vec<Check> = heads.iter().map(|(name, head)| check(name, head)).collect();
    let schemeless = head.without(":scheme");
    checks.push(check("no scheme", &schemeless).go(material.accepted()));
    checks
}

fn frames(material: &Material<'_>) -> Vec<Check> {
    let group = "frames out of place";
    let head = material.head();
    let start = || Request::new(&head);
    let new = |name: &str, request: Request, expect| Check::new(group, name, request, expect);
    let empty = Request::raw("nothing", b"").then(Step::Finish);
    let data_first = Request::raw("DATA before HEADERS", &[0, 2]).bytes(b"{}");
    // Required insert count 1: the first entry of a table that is not there.
    let dynamic = Request::raw("a HEADERS frame by the dynamic table", &[1, 3, 2, 0, 0x80]);
    let cut = start().bytes(&[0, 10]).bytes(b"{").then(Step::Finish);
    let incomplete = Expect::StreamError(H3_REQUEST_INCOMPLETE);
    let undecodable = Expect::ConnectionError(QPACK_DECOMPRESSION_FAILED);
    vec![
        new(
            "an empty stream is an incomplete request",
            empty,
            incomplete,
        ),
        new(
            "a body before its head ends the connection",
            data_first,
            UNEXPECTED,
        ),
        new(
            "SETTINGS on a request stream end the connection",
            start().frame(0x4, b""),
            UNEXPECTED,
        ),
        new(
            "a frame of HTTP/2 ends the connection",
            start().frame(0x2, &[0; 5]),
            UNEXPECTED,
        ),
        new(
            "a push promise of a client ends the connection",
            start().frame(0x5, &[0]),
            UNEXPECTED,
        )
        .go(Expect::NotAsked(
            "quic-go skips the frame and waits for a body",
        )),
        new(
            "a stream that ends within a frame ends the connection",
            cut,
            Expect::ConnectionError(H3_FRAME_ERROR),
        )
        .go(Expect::Refused(BAD_REQUEST)),
        new(
            "a reference to the dynamic table ends the connection",
            dynamic,
            undecodable,
        )
        .go(Expect::StreamError(QPACK_DECOMPRESSION_FAILED)),
    ]
}
