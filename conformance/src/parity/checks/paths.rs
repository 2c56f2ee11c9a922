//! Methods and paths: only `POST` to exactly `/connect`, with or without a query.

use super::{Check, Material, post};
use crate::parity::request::{Request, Step};
use crate::parity::table::{Expect, METHOD, NOT_FOUND};

pub(super) fn checks(material: &Material<'_>) -> Vec<Check> {
    let mut checks = methods(material);
    checks.extend(paths(material));
    checks
}

fn methods(material: &Material<'_>) -> Vec<Check> {
    let group = "methods";
    let head = material.head();
    let mut checks: Vec<Check> = [
        "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW", "post", "M-SEARCH",
    ]
    .iter()
    .map(|method| {
        let request = Request::new(&head.clone().set(":method", method)).then(Step::Finish);
        let name = format!("{method} is not a method of /connect");
        Check::new(group, name, request, Expect::Refused(METHOD))
    })
    .collect();
    let elsewhere = head.clone().set(":method", "HEAD").set(":path", "/");
    let plain = head
        .clone()
        .set(":method", "CONNECT")
        .without(":path")
        .without(":scheme");
    let star = head.clone().set(":method", "OPTIONS").set(":path", "*");
    let not_here = Expect::Refused(NOT_FOUND);
    checks.push(Check::new(
        group,
        "CONNECT has no path and so not this one",
        Request::new(&plain),
        not_here,
    ));
    let star = Request::new(&star).then(Step::Finish);
    checks.push(
        Check::new(group, "OPTIONS * is not about this path", star, not_here).go(Expect::NotAsked(
            "net/http answers with a header that HTTP/3 does not have",
        )),
    );
    checks.push(Check::new(
        group,
        "HEAD of another path has no body either",
        Request::new(&elsewhere).then(Step::Finish),
        Expect::Refused(NOT_FOUND),
    ));
    checks
}

fn paths(material: &Material<'_>) -> Vec<Check> {
    let group = "paths";
    let head = material.head();
    let at = |path: &str| post(&head.clone().set(":path", path), &material.body());
    let mut checks = Vec::new();
    for path in ["/connect?x=1", "/connect?", "/connect?x=/connect/&y=%zz"] {
        let name = format!("{path} is /connect with a query");
        checks.push(Check::new(group, name, at(path), material.accepted()));
    }
    // net/http cleans a path before it looks, and unescapes it.
    for (path, go) in [
        ("//connect", Expect::Redirect),
        ("/./connect", Expect::Redirect),
        ("/x/../connect", Expect::Redirect),
        ("/%63onnect", material.accepted()),
    ] {
        let name = format!("{path} is not /connect");
        let check = Check::new(group, name, at(path), Expect::Refused(NOT_FOUND));
        checks.push(check.go(go));
    }
    let long = format!("/{}", "x".repeat(2000));
    for path in [
        "/",
        "/connect/",
        "/Connect",
        "/connect/x",
        "/connectx",
        "/metrics",
        "/healthz",
        "/connect%3Fx=1",
        "/connect%2F",
        "/connect;x=1",
        long.as_str(),
    ] {
        let name = format!("{} is not /connect", &path[..path.len().min(20)]);
        checks.push(Check::new(
            group,
            name,
            at(path),
            Expect::Refused(NOT_FOUND),
        ));
    }
    checks
}
