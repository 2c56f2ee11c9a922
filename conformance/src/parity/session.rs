//! A session in the probe's hand: opened, with its keys and its stream, and compared with what is
//! documented.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use qdt_proto::handshake::{Nonce, SessionKeys};

use super::compare::{Success, differences, shown};
use super::exchange::{Outcome, Pending};
use super::request::{Head, Request, read_varint, varint};
use super::run::Run;
use super::table::{Expect, NOT_FOUND};
use crate::probe::{Probe, RawMessage, RawOpener, RawSealer, echo_request};

/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(4);
/// How often a datagram is sent before it counts as lost: datagrams are not repeated.
pub(super) const TRIES: u16 = 3;
/// What sessions here ask for: small enough that the answer is the same with and without
/// extensions.
const MTU: i64 = 1242;
/// The QDT message type of inner packets.
const DATA: u8 = 0;

/// A session in the probe's hand.
pub(super) struct Session {
    pub(super) probe: Probe,
    pub(super) pending: Pending,
    pub(super) success: Success,
    pub(super) quarter: u64,
    sealer: RawSealer,
    opener: RawOpener,
    sequence: u16,
}

/// A datagram of the server.
pub(super) struct Received {
    pub(super) quarter: u64,
    pub(super) message: RawMessage,
}

/// Opens a session whose request has these `fields` besides; on the second stream where told so.
pub(super) fn open(
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
        let found = compare(run, Expect::Refused(NOT_FOUND), &outcome, false, MTU);
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
    let mut found = compare(run, Expect::Session, &outcome, false, MTU);
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
    pub(super) fn send(&mut self, kind: u8, plaintext: &[u8]) {
        let mut frame = varint(self.quarter);
        frame.extend(self.sealer.seal(kind, plaintext));
        self.probe.send_datagram_wait(frame);
    }

    /// The next authentic datagram that `is` the right one, whatever its quarter stream id.
    pub(super) fn receive(
        &self,
        within: Duration,
        is: impl Fn(&RawMessage) -> bool,
    ) -> Option<Received> {
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
    pub(super) fn echo(&mut self) -> Option<Received> {
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

/// Differences of an outcome to what is documented.
pub(super) fn compare(
    run: &mut Run<'_>,
    expected: Expect,
    outcome: &Outcome,
    is_head: bool,
    asked: i64,
) -> Vec<String> {
    differences(
        expected,
        outcome,
        is_head,
        asked,
        run.learned.as_mut(),
        run.options.dialect,
    )
}
