//! What holds while a session lives: the stream stays open, datagrams carry its quarter stream id
//! and open with its keys, and a second request on the connection is answered as documented.
//!
//! The session hangs on the second stream of its connection, where a quarter stream id of 0 is
//! wrong.

use std::time::Duration;

use super::checks::{DEFAULT_MTU, NONCE};
use super::exchange::{Outcome, Pending};
use super::report::Line;
use super::request::{Head, Request, Step};
use super::run::Run;
use super::session::{ANSWER, Received, Session, compare, open};
use super::table::{BUSY, Dialect, Expect};

const GROUP: &str = "a living session";

/// Makes every check about a living session.
pub(super) fn probe(run: &mut Run<'_>) {
    if let Some(mut session) = open(run, GROUP, "a session opens on the second stream", "", true) {
        packets(run, &mut session);
        second_request(run, &mut session);
        session.probe.hang_up();
    }
    given_up(run);
}

/// A client may change its mind before its request is complete.
fn given_up(run: &mut Run<'_>) {
    let head = Head::connect(&run.options.token);
    let body = format!(r#"{{"version":1,"client_nonce":"{}"}}"#, NONCE);
    let (front, _) = body.as_bytes().split_at(20);
    let half = Request::new(&head)
        .data(front)
        .then(Step::Flush)
        .then(Step::GiveUp);
    let whole = Request::new(&head).data(body.as_bytes());
    let outcome = match run.connect() {
        Ok(probe) => {
            let _first = Pending::start(&probe, &half);
            let outcome = Pending::start(&probe, &whole).map(|mut pending| pending.outcome(ANSWER));
            probe.hang_up();
            outcome.unwrap_or_else(|outcome| outcome)
        }
        Err(why) => Outcome::Broken(why),
    };
    let found = compare(run, Expect::Session, &outcome, false, DEFAULT_MTU);
    run.report(
        GROUP,
        "a request that was given up makes room for the next one",
        "half of POST /connect, RESET_STREAM, and a whole one",
        Expect::Session,
        found,
    );
}

/// Packets there and back, and what their datagrams have to look like.
fn packets(run: &mut Run<'_>, session: &mut Session) {
    let sent = format!(
        "an ICMP echo from {} to {}",
        session.success.client_ip, session.success.gateway_ip
    );
    let line = |name: &str, expected: &str, found: &[String]| {
        Line::judged(GROUP, name, sent.as_str(), expected, found)
    };
    let replies: Vec<Received> = (0..3).map_while(|_| session.echo()).collect();
    let missing = (replies.len() < 3).then(|| {
        "no reply: does a firewall on the server's host drop ICMP from the tunnel, or is its TUN device down?".to_owned()
    });
    run.push(line(
        "the gateway answers an echo through the session",
        "an echo reply",
        missing.as_slice(),
    ));
    if replies.is_empty() {
        return;
    }
    let wrong: Vec<String> = replies
        .iter()
        .filter(|reply| reply.quarter != session.quarter)
        .map(|reply| format!("quarter stream id {}", reply.quarter))
        .collect();
    let expected = format!("quarter stream id {}", session.quarter);
    run.push(line(
        "datagrams carry the quarter stream id of the session's stream",
        &expected,
        &wrong,
    ));
    let mut faults = Vec::new();
    let mut last = None;
    for Received { message, .. } in &replies {
        if message.session != session.success.session_id {
            faults.push("another session id".to_owned());
        }
        if last.is_some_and(|last| message.counter <= last) {
            faults.push(format!(
                "counter {} after {}",
                message.counter,
                last.unwrap_or(0)
            ));
        }
        last = Some(message.counter);
    }
    run.push(line(
        "datagrams carry the session's id and counters that only rise",
        "the session's id, rising counters",
        &faults,
    ));
    // The replies came behind the answer on the same way: an end sent with the answer is here by
    // now.
    let over = session.pending.is_over(Duration::from_millis(100));
    let over = over.then(|| "the stream is finished or reset".to_owned());
    run.push(line(
        "the stream of a session stays open",
        "an open stream",
        over.as_slice(),
    ));
}

/// One connection carries one session; a Go server opens one for every request.
fn second_request(run: &mut Run<'_>, session: &mut Session) {
    let expected = match run.options.dialect {
        Dialect::Qdt => Expect::Refused(BUSY),
        Dialect::Go => Expect::Session,
    };
    let head = Head::connect(&run.options.token);
    let body = format!(r#"{{"version":1,"client_nonce":"{}"}}"#, NONCE);
    let request = Request::new(&head).data(body.as_bytes());
    let started = Pending::start(&session.probe, &request);
    let (outcome, _pending) = match started {
        Ok(mut pending) => (pending.outcome(ANSWER), Some(pending)),
        Err(outcome) => (outcome, None),
    };
    let found = compare(run, expected, &outcome, false, DEFAULT_MTU);
    run.report(
        GROUP,
        "a second request on the connection of a session is answered",
        "POST /connect on the same connection",
        expected,
        found,
    );
    let lost = session.echo().is_none().then(|| "no reply".to_owned());
    run.push(Line::judged(
        GROUP,
        "the session lives on behind a second request",
        "an ICMP echo",
        "an echo reply",
        lost.as_slice(),
    ));
}
