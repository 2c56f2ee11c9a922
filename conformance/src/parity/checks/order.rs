//! The order of checks, as it shows from outside: which answer a request with several faults gets.

use super::{Check, Material, post};
use crate::parity::request::{Head, Request, Step};
use crate::parity::table::{BAD_NONCE, BAD_REQUEST, Expect, METHOD, NOT_FOUND, Row, UNAUTHORIZED};

pub(super) fn checks(material: &Material<'_>) -> Vec<Check> {
    let head = material.head();
    let wrong = head.clone().set("x-qdt-token", "wrong");
    let get = |head: &Head, path: &str| {
        let head = head.clone().set(":method", "GET").set(":path", path);
        Request::new(&head).then(Step::Finish)
    };
    let bad_nonce = br#"{"version":1,"client_nonce":"="}"#;
    let bad_both = br#"{"version":2,"client_nonce":"="}"#;
    let cases: [(&str, Request, &'static Row); 8] = [
        (
            "the path comes before the method",
            get(&head, "/"),
            NOT_FOUND,
        ),
        (
            "the path comes before the token",
            post(&wrong.clone().set(":path", "/x"), &material.body()),
            NOT_FOUND,
        ),
        (
            "the method comes before the token",
            get(&wrong, "/connect"),
            METHOD,
        ),
        (
            "the method comes before no token at all",
            get(&head.clone().without("x-qdt-token"), "/connect"),
            METHOD,
        ),
        (
            "the token comes before the JSON",
            post(&wrong, b"no JSON"),
            UNAUTHORIZED,
        ),
        (
            "a wrong token is answered before the body comes",
            Request::new(&wrong.add("content-length", "40")),
            UNAUTHORIZED,
        ),
        (
            "the version comes before the nonce",
            post(&head, bad_both),
            BAD_REQUEST,
        ),
        (
            "the text of the nonce comes before its length",
            post(&head, bad_nonce),
            BAD_NONCE,
        ),
    ];
    cases
        .into_iter()
        .map(|(name, request, row)| {
            Check::new("order of checks", name, request, Expect::Refused(row))
        })
        .collect()
}
