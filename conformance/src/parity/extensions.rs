//! What the suite's own ends agree on by `caps`, and a Go server ignores.

use super::report::Line;
use super::run::Run;
use super::session::{ANSWER, Session, TRIES, open};
use super::table::Dialect;

const GROUP: &str = "extensions";
/// QDT message types.
const PING: u8 = 2;
const PONG: u8 = 3;

/// Makes every check about extensions.
pub(super) fn probe(run: &mut Run<'_>) {
    let asked = r#","caps":["ping","no-such-extension"]"#;
    let Some(mut session) = open(
        run,
        GROUP,
        "a request with caps opens a session",
        asked,
        false,
    ) else {
        return;
    };
    let caps = session.success.caps.clone();
    let ticket = session.success.resume.clone();
    let sent = "caps ping and no-such-extension";
    if run.options.dialect == Dialect::Go {
        let found = (caps.is_some() || ticket.is_some()).then(|| format!("caps {caps:?}"));
        run.push(Line::judged(
            GROUP,
            "a Go server confirms no caps",
            sent,
            "no caps, no resume",
            found.as_slice(),
        ));
        session.probe.hang_up();
        return;
    }
    let mut found = Vec::new();
    if caps.as_deref() != Some(&["ping".to_owned()]) {
        found.push(format!("caps {caps:?}"));
    }
    if ticket.is_none() {
        found.push("no resume".into());
    }
    run.push(Line::judged(
        GROUP,
        "caps that are known are confirmed, and a ticket is given",
        sent,
        "caps [\"ping\"] and a ticket",
        &found,
    ));
    let payload = b"when it was sent";
    let pong = (0..TRIES).find_map(|_| {
        session.send(PING, payload);
        session.receive(ANSWER / u32::from(TRIES), |message| {
            message.kind == PONG && message.plaintext == payload
        })
    });
    let found = pong.is_none().then(|| "no pong".to_owned());
    run.push(Line::judged(
        GROUP,
        "a ping is answered with what it held",
        "a ping",
        "a pong",
        found.as_slice(),
    ));
    if let Some(ticket) = ticket {
        resume(run, &session, &ticket);
    }
    session.probe.hang_up();
}

/// A ticket moves the session's address to a new connection and ends the old one.
fn resume(run: &mut Run<'_>, old: &Session, ticket: &str) {
    let fields = format!(r#","caps":["ping"],"resume":{}"#, serde_json::json!(ticket));
    let Some(session) = open(
        run,
        GROUP,
        "a request with a ticket opens a session",
        &fields,
        false,
    ) else {
        return;
    };
    let (was, is) = (old.success.client_ip, session.success.client_ip);
    let found = (was != is).then(|| format!("{is} instead of {was}"));
    run.push(Line::judged(
        GROUP,
        "a ticket gives the same address",
        "a ticket",
        "the same client_ip",
        found.as_slice(),
    ));
    let found = old
        .probe
        .closed(ANSWER)
        .is_none()
        .then(|| "it is still open".to_owned());
    run.push(Line::judged(
        GROUP,
        "the connection that had the address before ends",
        "a ticket",
        "a closed connection",
        found.as_slice(),
    ));
    session.probe.hang_up();
}
