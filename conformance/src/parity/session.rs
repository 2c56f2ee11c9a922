//! What holds while a session lives: the stream stays open, datagrams carry its quarter stream id and open with its
//! keys, a second request on the connection is answered as documented, and extensions exist only where asked for.
//!
//! The first session hangs on the second stream of its connection, where a quarter stream id of 0 is wrong.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use qdt_proto::handshake::{Nonce, SessionKeys};

use super::checks::{DEFAULT_MTU, NONCE};
use super::compare::{Success, differences, shown};
use super::exchange::{Outcome, Pending};
use super::report::Line;
use super::request::{Head, Request, Step, read_varint, varint};
use super::run::Run;
use super::table::{BUSY, Dialect, Expect, NOT_FOUND};
use crate::probe::{Probe, RawMessage, RawOpener, RawSealer, echo_request};

const GROUP: &str = "a living session";
const EXTENSIONS: &str = "extensions";
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(4);
/// What sessions here ask for: small enough that the answer is the same with and without extensions.
const MTU: i64 = 1242;
/// How often an echo is asked for before it counts as lost: datagrams are not repeated.
const TRIES: u16 = 3;
/// QDT message types.
const DATA: u8 = 0;
const PING: u8 = 2;
const PONG: u8 = 3;

/// A session in the probe's hand.
struct Session {
    probe: Probe,
    pending: Pending,
    success: Success,
    quarter: u64,
    sealer: RawSealer,
    opener: RawOpener,
    sequence: u16,
}

/// A datagram of the server.
struct Received {
    quarter: u64,
    message: RawMessage,
}

/// Makes every check about living sessions.
pub(super) fn probe(run: &mut Run<'_>) {
    if let Some(mut session) = open(run, GROUP, "a session opens on the second stream", "", true) {
        packets(run, &mut session);
        second_request(run, &mut session);
        session.probe.hang_up();
    }
    given_up(run);
    extensions(run);
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
    let found = compare(run, Expect::Session, &outcome, DEFAULT_MTU);
    run.report(
        GROUP,
        "a request that was given up makes room for the next one",
        "half of POST /connect, RESET_STREAM, and a whole one",
        Expect::Session,
        found,
    );
}

/// Opens a session whose request has these `fields` besides; on the second stream where told so.
fn open(
    run: &mut Run<'_>,
    group: &'static str,
    name: &str,
    fields: &str,
    second_stream: bool,
) -> Option<Session> {
    let token = run.options.token.clone();
    let head = Head::connect(&token);
    let failed = |run: &mut Run<'_>, why: String| {
        run.report(group, name, "POST /connect", Expect::Session, vec![why]);
        None
    };
    let probe = match run.connect() {
        Ok(probe) => probe,
        Err(why) => return failed(run, why),
    };
    if second_stream {
        let elsewhere = Request::new(&head.clone().set(":path", "/"));
        let outcome = Pending::start(&probe, &elsewhere).map(|mut pending| pending.outcome(ANSWER));
        let outcome = outcome.unwrap_or_else(|outcome| outcome);
        let found = compare(run, Expect::Refused(NOT_FOUND), &outcome, MTU);
        run.report(
            group,
            "a refusal leaves the connection open",
            &elsewhere.shown,
            Expect::Refused(NOT_FOUND),
            found,
        );
    }
    let nonce = Nonce::from_bytes(rand::random());
    // A ticket is a secret of its session.
    let fields_shown = if fields.contains("resume") {
        ",\"resume\":..."
    } else {
        fields
    };
    let sent = format!("POST /connect {{\"version\":1,...{fields_shown}}}");
    let body = format!(
        r#"{{"version":1,"client_nonce":"{}","mtu":{MTU}{fields}}}"#,
        nonce.to_text()
    );
    let request = Request::new(&head).data(body.as_bytes());
    let mut pending = match Pending::start(&probe, &request) {
        Ok(pending) => pending,
        Err(outcome) => return failed(run, shown(&outcome)),
    };
    let outcome = pending.outcome(ANSWER);
    let mut found = compare(run, Expect::Session, &outcome, MTU);
    let success: Option<Success> = match &outcome {
        Outcome::Answer(answer) => serde_json::from_slice(&answer.body).ok(),
        _ => None,
    };
    if fields.is_empty()
        && success
            .as_ref()
            .is_some_and(|success| success.caps.is_some() || success.resume.is_some())
    {
        found.push("caps or resume, which were not asked for".into());
    }
    run.report(group, name, &sent, Expect::Session, found);
    let success = success?;
    let server_nonce = Nonce::from_text(&success.server_nonce).ok()?;
    let keys = SessionKeys::derive(&token, &nonce, &server_nonce).ok()?;
    Some(Session {
        quarter: pending.quarter_stream_id(),
        sealer: RawSealer::new(&keys.client, success.session_id),
        opener: RawOpener::new(&keys.server),
        probe,
        pending,
        success,
        sequence: 0,
    })
}

impl Session {
    /// Seals a message and sends it on the session's quarter stream id.
    fn send(&mut self, kind: u8, plaintext: &[u8]) {
        let mut frame = varint(self.quarter);
        frame.extend(self.sealer.seal(kind, plaintext));
        self.probe.send_datagram_wait(frame);
    }

    /// The next authentic datagram that `is` the right one, whatever its quarter stream id.
    fn receive(&self, within: Duration, is: impl Fn(&RawMessage) -> bool) -> Option<Received> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let frame = self.probe.receive_datagram(left)?;
            let (quarter, length) = read_varint(&frame)?;
            if let Some(message) = self.opener.open(&frame[length..])
                && is(&message)
            {
                return Some(Received { quarter, message });
            }
        }
    }

    /// An ICMP echo to the gateway and its reply.
    fn echo(&mut self) -> Option<Received> {
        let (inner, gateway) = (self.success.client_ip, self.success.gateway_ip);
        (0..TRIES).find_map(|_| {
            self.sequence += 1;
            let sequence = self.sequence;
            self.send(DATA, &echo_request(inner, gateway, sequence, 56));
            self.receive(ANSWER / u32::from(TRIES), |message| {
                message.kind == DATA && is_reply(&message.plaintext, gateway, inner, sequence)
            })
        })
    }
}

/// Whether a packet is the echo reply with this sequence number.
fn is_reply(packet: &[u8], source: Ipv4Addr, destination: Ipv4Addr, sequence: u16) -> bool {
    packet.len() == 84
        && packet[9] == 1
        && packet[12..16] == source.octets()
        && packet[16..20] == destination.octets()
        && packet[20] == 0
        && packet[26..28] == sequence.to_be_bytes()
}

/// Differences of an outcome where a head was no HEAD.
fn compare(run: &Run<'_>, expected: Expect, outcome: &Outcome, asked: i64) -> Vec<String> {
    differences(
        expected,
        outcome,
        false,
        asked,
        run.learned.as_ref(),
        run.options.dialect,
    )
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
    // The replies came behind the answer on the same way: an end sent with the answer is here by now.
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
    let found = compare(run, expected, &outcome, DEFAULT_MTU);
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

/// What the suite's own ends agree on by `caps`.
fn extensions(run: &mut Run<'_>) {
    let asked = r#","caps":["ping","no-such-extension"]"#;
    let Some(mut session) = open(
        run,
        EXTENSIONS,
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
            EXTENSIONS,
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
        EXTENSIONS,
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
        EXTENSIONS,
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
        EXTENSIONS,
        "a request with a ticket opens a session",
        &fields,
        false,
    ) else {
        return;
    };
    let (was, is) = (old.success.client_ip, session.success.client_ip);
    let found = (was != is).then(|| format!("{is} instead of {was}"));
    run.push(Line::judged(
        EXTENSIONS,
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
        EXTENSIONS,
        "the connection that had the address before ends",
        "a ticket",
        "a closed connection",
        found.as_slice(),
    ));
    session.probe.hang_up();
}
