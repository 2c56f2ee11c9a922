//! Bodies: their announced length, the pieces they come in, where they end.

use super::{Check, Material, post};
use crate::parity::request::{Request, Step};
use crate::parity::table::{BAD_REQUEST, Expect, MALFORMED};

/// A frame type that is reserved to be ignored (RFC 9114 section 7.2.8).
const GREASE: u64 = 0x1f * 7 + 0x21;
/// The most of a body that is read.
const MAX_BODY: usize = 4096;

const REFUSED: Expect = Expect::Refused(BAD_REQUEST);

pub(super) fn checks(material: &Material<'_>) -> Vec<Check> {
    let mut checks = lengths(material);
    checks.extend(pieces(material));
    checks.extend(sizes(material));
    checks.extend(unfinished(material));
    checks
}

fn lengths(material: &Material<'_>) -> Vec<Check> {
    let accepted = material.accepted();
    let group = "content-length";
    let head = material.head();
    let with = |length: &str| {
        Request::new(&head.clone().add("content-length", length)).data(&material.body())
    };
    vec![
        Check::new(
            group,
            "a body may come without a length",
            Request::new(&head).data(&material.body()),
            accepted,
        ),
        Check::new(
            group,
            "a length of 0 before a body is looked past, for the Go client",
            with("0"),
            accepted,
        )
        .go(MALFORMED),
        Check::new(
            group,
            "a length that is too large does not matter",
            with("4000"),
            accepted,
        ),
        Check::new(
            group,
            "a length that is too small is looked past",
            with("10"),
            accepted,
        )
        .go(MALFORMED),
    ]
}

fn pieces(material: &Material<'_>) -> Vec<Check> {
    let accepted = material.accepted();
    let group = "pieces of a body";
    let body = material.body();
    let head = material.head();
    let start = || Request::new(&head);
    let (front, back) = body.split_at(body.len() / 2);
    let bytes = body.chunks(1).fold(start(), Request::data);
    let packets = body.chunks(20).fold(start(), |request, piece| {
        request.then(Step::Flush).data(piece)
    });
    vec![
        Check::new(
            group,
            "a body may come in two frames",
            start().data(front).data(back),
            accepted,
        ),
        Check::new(
            group,
            "a body may come in frames of one byte",
            bytes,
            accepted,
        ),
        Check::new(
            group,
            "a body may come in packets of its own",
            packets,
            accepted,
        ),
        Check::new(
            group,
            "a body may come after its head",
            start().then(Step::Flush).data(&body),
            accepted,
        ),
        Check::new(
            group,
            "empty frames in a body do not matter",
            start().data(b"").data(front).data(b"").data(back),
            accepted,
        ),
        Check::new(
            group,
            "unknown frames before, in and behind a body do not matter",
            start()
                .frame(GREASE, b"one")
                .data(front)
                .frame(GREASE, b"")
                .data(back)
                .frame(GREASE, &[0; 100]),
            accepted,
        ),
        Check::new(
            group,
            "a finished request opens a session too",
            start().data(&body).then(Step::Finish),
            accepted,
        ),
        Check::new(
            group,
            "trailers behind a body do not matter",
            start().data(&body).trailers("x-checksum", "1"),
            accepted,
        ),
    ]
}

fn sizes(material: &Material<'_>) -> Vec<Check> {
    let accepted = material.accepted();
    let group = "sizes of a body";
    let head = material.head();
    let of = |len| post(&head, &material.padded(len));
    let whole = |body: &[u8]| post(&head, body);
    let with_rest = [&material.body()[..], &vec![b'x'; 5000]].concat();
    vec![
        Check::new(
            group,
            "a value that ends with byte 4096 is accepted",
            of(MAX_BODY),
            accepted,
        ),
        Check::new(
            group,
            "a value that ends with byte 4095 is accepted",
            of(MAX_BODY - 1),
            accepted,
        ),
        Check::new(
            group,
            "a value that ends with byte 4097 is refused",
            of(MAX_BODY + 1),
            REFUSED,
        ),
        Check::new(
            group,
            "4096 blanks are no request",
            whole(&[b' '; MAX_BODY]),
            REFUSED,
        ),
        Check::new(
            group,
            "bytes behind the value are ignored",
            whole(&[&material.body()[..], b"}garbage"].concat()),
            accepted,
        ),
        Check::new(
            group,
            "thousands of bytes behind the value are ignored",
            whole(&with_rest),
            accepted,
        ),
        Check::new(
            group,
            "a byte order mark is no JSON",
            whole(&["\u{feff}".as_bytes(), &material.body()].concat()),
            REFUSED,
        ),
        Check::new(
            group,
            "a wrong value is refused while the stream is open",
            whole(br#"{"version":3}"#),
            REFUSED,
        ),
    ]
}

fn unfinished(material: &Material<'_>) -> Vec<Check> {
    let group = "bodies without an end";
    let head = material.head();
    let half = &material.body()[..20];
    let waits = Expect::NotAsked("a Go server waits as long as the connection lives");
    vec![
        Check::new(
            group,
            "no body at all is refused",
            Request::new(&head).then(Step::Finish),
            REFUSED,
        ),
        Check::new(
            group,
            "a finished half of a value is refused",
            Request::new(&head).data(half).then(Step::Finish),
            REFUSED,
        ),
        Check::new(
            group,
            "half a value is refused at the deadline",
            Request::new(&head).data(half),
            REFUSED,
        )
        .slow()
        .go(waits),
        Check::new(
            group,
            "a body that does not come is refused at the deadline",
            Request::new(&head),
            REFUSED,
        )
        .slow()
        .go(waits),
    ]
}
