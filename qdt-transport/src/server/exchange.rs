//! The HTTP/3 requests of one connection: read, judged by [`Admission`], answered.
//!
//! A refusal is answered and the stream finished. A granted session's stream is answered and left
//! open for the life of the session: a Go client never looks at it again. The body counts as
//! complete with its first JSON value, the end of the stream, 4096 bytes or the deadline, whichever
//! comes first, because a Go client announces `content-length: 0` before it and never ends the
//! stream.
//!
//! Memory is bounded: the parsers of a connection hold at most [`MAX_HELD`] together, and what is
//! not read yet is at most 16 KiB a stream and 32 KiB a connection, in a bounded number of frames.

use std::time::{Duration, Instant};

use qdt_proto::handshake::{ConnectRequest, DecodeError, MAX_BODY};
use qdt_proto::http3::{
    Http3Error, MAX_HEADERS_PAYLOAD, RequestEvent, RequestHead, RequestStream, code,
    encode_refusal, encode_success, http_date,
};
use quinn_proto::{Connection, Dir, StreamId};
use tracing::{debug, warn};

use super::admission::{Admission, Decision, Grant, Refusal, RequestContext};
use super::pending::{Ask, DECIDE_WITHIN, NO_DECISION};
use super::route::{Endpoint, NOT_FOUND};
use crate::http3_streams::{Outgoing, Sending, StreamEnd, error_code, fail, read_chunks};

/// How long the body of a request may take after its head.
const BODY_DEADLINE: Duration = Duration::from_secs(5);

/// What the heads of a connection's requests may hold together while they are incomplete, in bytes:
/// two of the longest, since a client has one request and repeats it at most once.
const MAX_HELD: usize = 2 * MAX_HEADERS_PAYLOAD;

/// The answer where the body did not come in time and the policy has none.
const BAD_REQUEST: Refusal = Refusal {
    status: 400,
    body: "bad request",
};

/// What an exchange needs from outside.
pub(super) struct Context<'a, A> {
    pub(super) admission: &'a A,
    pub(super) request: RequestContext,
    /// When a client that has no session by then is given up.
    pub(super) answer_by: Instant,
    /// The wall clock, for the date of an answer.
    pub(super) unix_seconds: fn() -> u64,
}

/// A request that was granted a session, and its stream.
pub(super) struct Granted {
    pub(super) stream: StreamId,
    pub(super) endpoint: Endpoint,
    pub(super) session: Grant,
}

/// What became of a request that was not refused.
pub(super) enum Settled {
    Granted(Granted),
    /// The policy answers later.
    Pending {
        stream: StreamId,
        ask: Ask,
    },
}

/// The requests of one connection, with a reservation `R` for each that waits for its body.
#[derive(Debug)]
pub(super) struct Exchanges<R> {
    requests: Vec<Exchange<R>>,
    /// One connection has at most one session, granted or about to be.
    claimed: Option<StreamId>,
    /// The client gave up the stream that its session hangs on.
    pub(super) session_given_up: bool,
    /// When a request was last refused, and the refusal written.
    pub(super) answered: Option<Instant>,
}

#[derive(Debug)]
struct Exchange<R> {
    id: StreamId,
    parser: RequestStream,
    state: State<R>,
    out: Option<Outgoing>,
}

#[derive(Debug)]
enum State<R> {
    /// The head is not complete.
    Head,
    /// The head was accepted; the body is not complete.
    Body {
        reservation: Option<(Endpoint, R)>,
        body: Vec<u8>,
        deadline: Instant,
    },
    /// The request is complete; the policy's verdict is not here.
    Pending {
        endpoint: Endpoint,
        deadline: Instant,
    },
    /// Answered with a session.
    Granted,
    /// Answered with a refusal.
    Refused,
}

impl<R> Default for Exchanges<R> {
    fn default() -> Self {
        Self {
            requests: Vec::new(),
            claimed: None,
            session_given_up: false,
            answered: None,
        }
    }
}

impl<R> Exchanges<R> {
    /// Takes in the streams that the client has opened.
    pub(super) fn accept(
        &mut self,
        quic: &mut Connection,
        context: &Context<'_, impl Admission<Reservation = R>>,
    ) -> Option<Settled> {
        // QUIC tells of new streams first: a request that was given up in the same packet makes
        // room for them.
        let mut settled = self
            .claiming()
            .and_then(|earlier| self.read(quic, earlier, context));
        while let Some(id) = quic.streams().accept(Dir::Bi) {
            self.requests.push(Exchange {
                id,
                parser: RequestStream::new(),
                state: State::Head,
                out: None,
            });
            settled = settled.or(self.read(quic, id, context));
        }
        settled
    }

    /// The request that has a place for a session and waits for its body or its verdict.
    fn claiming(&self) -> Option<StreamId> {
        let waits = |request: &&Exchange<R>| {
            matches!(request.state, State::Body { .. } | State::Pending { .. })
        };
        self.requests.iter().find(waits).map(|request| request.id)
    }

    /// Reads one stream; gives what became of its request.
    pub(super) fn read(
        &mut self,
        quic: &mut Connection,
        id: StreamId,
        context: &Context<'_, impl Admission<Reservation = R>>,
    ) -> Option<Settled> {
        let position = self.requests.iter().position(|request| request.id == id)?;
        let has_session = self.is_claimed_besides(id);
        let exchange = &mut self.requests[position];
        let mut verdict = None;
        let end = read_chunks(quic, id, |data, fin| {
            verdict = verdict
                .take()
                .or_else(|| exchange.take(data, fin, has_session, context));
            verdict.is_none()
        });
        if matches!(exchange.state, State::Body { .. }) {
            self.claimed = Some(id);
        }
        if verdict.is_none() && self.held() > MAX_HELD {
            verdict = Some(Verdict::Malformed(Http3Error::stream(
                code::H3_EXCESSIVE_LOAD,
                format!("the heads of a connection's requests hold more than {MAX_HELD} bytes"),
            )));
        }
        match verdict {
            None if end == StreamEnd::Reset => {
                self.forget(position);
                None
            }
            None => None,
            Some(verdict) => self.conclude(quic, position, verdict, context),
        }
    }

    /// Bytes of heads that are not complete.
    fn held(&self) -> usize {
        let buffered = |request: &Exchange<R>| request.parser.buffered();
        self.requests.iter().map(buffered).sum()
    }

    /// Continues to write an answer that flow control held back, or that the client does not want
    /// any more.
    pub(super) fn writable(&mut self, quic: &mut Connection, id: StreamId) {
        let Some(position) = self.requests.iter().position(|request| request.id == id) else {
            return;
        };
        let Some(mut out) = self.requests[position].out.take() else {
            return;
        };
        let is_session = self.claimed == Some(id);
        match out.write(quic, id) {
            Sending::Blocked => self.requests[position].out = Some(out),
            Sending::Done if is_session => {}
            Sending::Refused(_) if is_session => self.session_given_up = true,
            sent => {
                if matches!(sent, Sending::Refused(_)) {
                    let _ = quic.send_stream(id).reset(error_code(code::H3_NO_ERROR));
                }
                self.requests.swap_remove(position);
            }
        }
    }

    /// Returns whether another request than that on `id` has the connection's session, or waits
    /// for it.
    fn is_claimed_besides(&self, id: StreamId) -> bool {
        self.claimed.is_some_and(|claimed| claimed != id)
    }

    /// Returns whether the request on `id` waits for its verdict.
    pub(super) fn waits_for_verdict(&self, id: StreamId) -> bool {
        self.requests
            .iter()
            .any(|request| request.id == id && matches!(request.state, State::Pending { .. }))
    }

    /// Answers the request on `id`, whose verdict has come.
    pub(super) fn answer(
        &mut self,
        quic: &mut Connection,
        id: StreamId,
        outcome: Result<Box<Grant>, Refusal>,
        context: &Context<'_, impl Admission<Reservation = R>>,
    ) -> Option<Settled> {
        let position = self.requests.iter().position(|request| request.id == id)?;
        let State::Pending { endpoint, .. } = self.requests[position].state else {
            return None;
        };
        let verdict = match outcome {
            Ok(session) => Verdict::Granted(endpoint, session),
            Err(refusal) => Verdict::Refused(refusal, false),
        };
        self.conclude(quic, position, verdict, context)
    }

    /// When the next body or verdict is overdue.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.requests.iter().filter_map(Exchange::deadline).min()
    }

    /// Answers the requests whose body or verdict did not come in time.
    pub(super) fn expire(
        &mut self,
        quic: &mut Connection,
        context: &Context<'_, impl Admission<Reservation = R>>,
    ) {
        while let Some(position) = self.requests.iter().position(|request| {
            request
                .deadline()
                .is_some_and(|deadline| deadline <= context.request.now)
        }) {
            let state = std::mem::replace(&mut self.requests[position].state, State::Refused);
            let refusal = match state {
                State::Body {
                    reservation: Some((_, reservation)),
                    ..
                } => match context.admission.body(reservation, None, &context.request) {
                    Decision::Refused(refusal) => refusal,
                    Decision::Granted(_) | Decision::Pending(_) => BAD_REQUEST,
                },
                State::Pending { .. } => NO_DECISION,
                _ => continue,
            };
            let _ = self.conclude(quic, position, Verdict::Refused(refusal, false), context);
        }
    }

    fn forget(&mut self, position: usize) {
        let gone = self.requests.swap_remove(position);
        if self.claimed == Some(gone.id) {
            match gone.state {
                State::Granted => self.session_given_up = true,
                State::Head | State::Body { .. } | State::Pending { .. } | State::Refused => {
                    self.claimed = None;
                }
            }
        }
    }

    fn conclude(
        &mut self,
        quic: &mut Connection,
        position: usize,
        verdict: Verdict,
        context: &Context<'_, impl Admission<Reservation = R>>,
    ) -> Option<Settled> {
        let exchange = &mut self.requests[position];
        let id = exchange.id;
        let date = http_date((context.unix_seconds)());
        let (mut out, granted) = match verdict {
            Verdict::Pending(endpoint, ask) => {
                let deadline = context.answer_by.min(context.request.now + DECIDE_WITHIN);
                exchange.state = State::Pending { endpoint, deadline };
                return Some(Settled::Pending { stream: id, ask });
            }
            Verdict::Granted(endpoint, session) => {
                exchange.state = State::Granted;
                let out = Outgoing::new(encode_success(&date, &session.response), false);
                (
                    out,
                    Some(Granted {
                        stream: id,
                        endpoint,
                        session: *session,
                    }),
                )
            }
            Verdict::Refused(refusal, is_head) => {
                exchange.state = State::Refused;
                if self.claimed == Some(id) {
                    self.claimed = None;
                }
                self.answered = Some(context.request.now);
                let answer = encode_refusal(refusal.status, refusal.body, &date, is_head);
                // The rest of the request is of no interest (RFC 9114 section 4.1).
                let _ = quic.recv_stream(id).stop(error_code(code::H3_NO_ERROR));
                (Outgoing::new(answer, true), None)
            }
            Verdict::Malformed(error) => {
                fail(quic, context.request.now, Some(id), &error);
                self.forget(position);
                return None;
            }
        };
        match (out.write(quic, id), &granted) {
            (Sending::Blocked, _) => self.requests[position].out = Some(out),
            (Sending::Refused(err), Some(Granted { session, .. })) => {
                warn!(id = session.id.0, ip = %session.inner, %err, "connect response failed");
                self.session_given_up = true;
            }
            (Sending::Done, Some(_)) => {}
            (Sending::Done | Sending::Refused(_), None) => {
                self.requests.swap_remove(position);
            }
        }
        granted.map(Settled::Granted)
    }
}

enum Verdict {
    Granted(Endpoint, Box<Grant>),
    Pending(Endpoint, Ask),
    /// With whether it answers a HEAD request.
    Refused(Refusal, bool),
    Malformed(Http3Error),
}

impl<R> Exchange<R> {
    /// When what the exchange waits for is overdue.
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Body { deadline, .. } | State::Pending { deadline, .. } => Some(*deadline),
            State::Head | State::Granted | State::Refused => None,
        }
    }

    /// Takes the stream's next bytes; a verdict ends the exchange's reading.
    fn take(
        &mut self,
        data: &[u8],
        fin: bool,
        has_session: bool,
        context: &Context<'_, impl Admission<Reservation = R>>,
    ) -> Option<Verdict> {
        let Self { parser, state, .. } = self;
        for event in parser.handle(data, fin) {
            match event {
                Err(error) => return Some(Verdict::Malformed(error)),
                Ok(RequestEvent::Head(head)) => match judge_head(&head, has_session, context) {
                    Err(refusal) => {
                        return Some(Verdict::Refused(refusal, head.method == b"HEAD"));
                    }
                    Ok(reservation) => {
                        *state = State::Body {
                            reservation: Some(reservation),
                            body: Vec::new(),
                            deadline: context.request.now + BODY_DEADLINE,
                        };
                    }
                },
                Ok(RequestEvent::Body(part)) => {
                    if let State::Body {
                        reservation, body, ..
                    } = state
                    {
                        let room = MAX_BODY - body.len();
                        body.extend_from_slice(&part[..part.len().min(room)]);
                        if body.len() == MAX_BODY || is_complete(body) {
                            return judge(reservation, body, context);
                        }
                    }
                }
                Ok(RequestEvent::End) => {
                    if let State::Body {
                        reservation, body, ..
                    } = state
                    {
                        return judge(reservation, body, context);
                    }
                }
            }
        }
        None
    }
}

/// Judges a head: first which endpoint it is for, then whether admission takes it.
fn judge_head<R>(
    head: &RequestHead,
    has_session: bool,
    context: &Context<'_, impl Admission<Reservation = R>>,
) -> Result<(Endpoint, R), Refusal> {
    let Some(endpoint) = Endpoint::of(head) else {
        debug!(peer = %context.request.peer.ip(), "request to no endpoint refused");
        return Err(NOT_FOUND);
    };
    let reservation = context
        .admission
        .head(head, &context.request, has_session)?;
    Ok((endpoint, reservation))
}

fn judge<R>(
    reservation: &mut Option<(Endpoint, R)>,
    body: &[u8],
    context: &Context<'_, impl Admission<Reservation = R>>,
) -> Option<Verdict> {
    let (endpoint, reservation) = reservation.take()?;
    let judged = context
        .admission
        .body(reservation, Some(body), &context.request);
    Some(match judged {
        Decision::Granted(session) => Verdict::Granted(endpoint, session),
        Decision::Refused(refusal) => Verdict::Refused(refusal, false),
        Decision::Pending(ask) => Verdict::Pending(endpoint, ask),
    })
}

/// Whether more bytes cannot change what the body means.
fn is_complete(body: &[u8]) -> bool {
    !matches!(ConnectRequest::decode(body), Err(DecodeError::Incomplete))
}

#[cfg(test)]
mod tests;
