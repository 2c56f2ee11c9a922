//! The HTTP/3 requests of one connection: read, decided by [`Admission`], answered.
//!
//! A refused request's stream is finished with the answer. A granted session's stream is answered
//! and stays open for the life of the session, though a Go client never reads it again. The body is
//! complete with its first JSON value, the end of the stream, after 4096 bytes or at the deadline,
//! whichever comes first, because a Go client announces `content-length: 0` before it and never
//! ends the stream.
//!
//! Invariant: memory is bounded; the parsers of a connection hold at most [`MAX_HELD`] together,
//! and unread data is at most 16 KiB per stream and 32 KiB per connection, in a bounded number of
//! frames.

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
use crate::http3_streams::{StreamEnd, StreamWriter, WriteStatus, error_code, fail, read_chunks};

/// The time limit for a request's body after its head.
const BODY_DEADLINE: Duration = Duration::from_secs(5);

/// The most bytes in the incomplete heads of a connection's requests: two of the longest, because a
/// client has one request and repeats it at most once.
const MAX_HELD: usize = 2 * MAX_HEADERS_PAYLOAD;

/// The answer to a request without a body in time, if the policy has none.
const BAD_REQUEST: Refusal = Refusal {
    status: 400,
    body: "bad request",
};

/// The environment of an exchange.
pub(super) struct Context<'a, A> {
    pub(super) admission: &'a A,
    pub(super) request: RequestContext,
    /// When a client without a session is given up.
    pub(super) answer_by: Instant,
    /// The wall clock, for the Date of an answer.
    pub(super) unix_seconds: fn() -> u64,
}

/// A request that was granted a session.
pub(super) struct GrantedRequest {
    pub(super) stream: StreamId,
    /// The STREAM frames that the client may send from now on.
    pub(super) stream_frames: u64,
    pub(super) session: Grant,
}

/// The result of a request that was not refused.
pub(super) enum RequestResult {
    Granted(GrantedRequest),
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
    /// The request with the connection's only session, granted or in progress.
    claimed: Option<StreamId>,
    /// Whether the client closed the stream of its session.
    pub(super) session_abandoned: bool,
    /// When a request was last refused.
    pub(super) answered: Option<Instant>,
}

#[derive(Debug)]
struct Exchange<R> {
    id: StreamId,
    parser: RequestStream,
    /// Whether the method is HEAD, whose answer has no body.
    is_head: bool,
    /// The STREAM frames that the endpoint of an accepted head allows after the grant.
    stream_frames: u64,
    state: State<R>,
    out: Option<StreamWriter>,
}

#[derive(Debug)]
enum State<R> {
    /// The head is not complete.
    Head,
    /// The head was accepted; the body is not complete.
    Body {
        reservation: Option<R>,
        body: Vec<u8>,
        deadline: Instant,
    },
    /// The request is complete and waits for the policy's decision.
    Pending { deadline: Instant },
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
            session_abandoned: false,
            answered: None,
        }
    }
}

impl<R> Exchanges<R> {
    /// Accepts the streams that the client has opened.
    pub(super) fn accept(
        &mut self,
        quic: &mut Connection,
        context: &Context<'_, impl Admission<Reservation = R>>,
    ) -> Option<RequestResult> {
        // QUIC reports new streams first; a request reset in the same packet releases the session
        // to them.
        let mut result = self
            .claiming()
            .and_then(|earlier| self.read(quic, earlier, context));
        while let Some(id) = quic.streams().accept(Dir::Bi) {
            self.requests.push(Exchange {
                id,
                parser: RequestStream::new(),
                is_head: false,
                stream_frames: 0,
                state: State::Head,
                out: None,
            });
            result = result.or(self.read(quic, id, context));
        }
        result
    }

    /// Returns the request that holds the session and waits for its body or its decision.
    fn claiming(&self) -> Option<StreamId> {
        let waits = |request: &&Exchange<R>| {
            matches!(request.state, State::Body { .. } | State::Pending { .. })
        };
        self.requests.iter().find(waits).map(|request| request.id)
    }

    /// Reads one stream and returns the result of its request, if any.
    pub(super) fn read(
        &mut self,
        quic: &mut Connection,
        id: StreamId,
        context: &Context<'_, impl Admission<Reservation = R>>,
    ) -> Option<RequestResult> {
        let position = self.requests.iter().position(|request| request.id == id)?;
        let has_session = self.is_claimed_by_another(id);
        let exchange = &mut self.requests[position];
        let mut decision = None;
        let end = read_chunks(quic, id, |data, fin| {
            decision = decision
                .take()
                .or_else(|| exchange.take(data, fin, has_session, context));
            decision.is_none()
        });
        if matches!(exchange.state, State::Body { .. }) {
            self.claimed = Some(id);
        }
        if decision.is_none() && self.held() > MAX_HELD {
            decision = Some(Err(Http3Error::stream(
                code::H3_EXCESSIVE_LOAD,
                format!("the heads of a connection's requests hold more than {MAX_HELD} bytes"),
            )));
        }
        match decision {
            None if end == StreamEnd::Reset => {
                self.remove(position);
                None
            }
            None => None,
            Some(decision) => self.conclude(quic, position, decision, context),
        }
    }

    /// Returns the bytes of incomplete heads.
    fn held(&self) -> usize {
        let buffered = |request: &Exchange<R>| request.parser.buffered();
        self.requests.iter().map(buffered).sum()
    }

    /// Continues an answer that flow control blocked, or that the client stopped.
    pub(super) fn writable(&mut self, quic: &mut Connection, id: StreamId) {
        let Some(position) = self.requests.iter().position(|request| request.id == id) else {
            return;
        };
        let Some(mut out) = self.requests[position].out.take() else {
            return;
        };
        let is_session = self.claimed == Some(id);
        match out.write(quic, id) {
            WriteStatus::Blocked => self.requests[position].out = Some(out),
            WriteStatus::Done if is_session => {}
            WriteStatus::Refused(_) if is_session => self.session_abandoned = true,
            sent => {
                if matches!(sent, WriteStatus::Refused(_)) {
                    let _ = quic.send_stream(id).reset(error_code(code::H3_NO_ERROR));
                }
                self.requests.swap_remove(position);
            }
        }
    }

    /// Returns whether a request other than that on `id` holds the connection's session.
    fn is_claimed_by_another(&self, id: StreamId) -> bool {
        self.claimed.is_some_and(|claimed| claimed != id)
    }

    /// Returns whether the request on `id` waits for its decision.
    pub(super) fn is_pending(&self, id: StreamId) -> bool {
        self.requests
            .iter()
            .any(|request| request.id == id && matches!(request.state, State::Pending { .. }))
    }

    /// Answers the pending request on `id`.
    pub(super) fn answer(
        &mut self,
        quic: &mut Connection,
        id: StreamId,
        outcome: Result<Box<Grant>, Refusal>,
        context: &Context<'_, impl Admission<Reservation = R>>,
    ) -> Option<RequestResult> {
        let position = self.requests.iter().position(|request| request.id == id)?;
        let decision = outcome.map_or_else(Decision::Refused, Decision::Granted);
        self.conclude(quic, position, Ok(decision), context)
    }

    /// Returns when the next body or decision is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.requests.iter().filter_map(Exchange::deadline).min()
    }

    /// Refuses the requests whose body or decision is overdue.
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
                    reservation: Some(reservation),
                    ..
                } => match context.admission.body(reservation, None, &context.request) {
                    Decision::Refused(refusal) => refusal,
                    Decision::Granted(_) | Decision::Pending(_) => BAD_REQUEST,
                },
                State::Pending { .. } => NO_DECISION,
                _ => continue,
            };
            let _ = self.conclude(quic, position, Ok(Decision::Refused(refusal)), context);
        }
    }

    fn remove(&mut self, position: usize) {
        let gone = self.requests.swap_remove(position);
        if self.claimed == Some(gone.id) {
            match gone.state {
                State::Granted => self.session_abandoned = true,
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
        decision: Result<Decision, Http3Error>,
        context: &Context<'_, impl Admission<Reservation = R>>,
    ) -> Option<RequestResult> {
        let exchange = &mut self.requests[position];
        let (id, stream_frames) = (exchange.id, exchange.stream_frames);
        let date = http_date((context.unix_seconds)());
        let (mut out, granted) = match decision {
            Ok(Decision::Pending(ask)) => {
                let deadline = context.answer_by.min(context.request.now + DECIDE_WITHIN);
                exchange.state = State::Pending { deadline };
                return Some(RequestResult::Pending { stream: id, ask });
            }
            Ok(Decision::Granted(session)) => {
                exchange.state = State::Granted;
                let out = StreamWriter::new(encode_success(&date, &session.response), false);
                (out, Some(session))
            }
            Ok(Decision::Refused(refusal)) => {
                exchange.state = State::Refused;
                if self.claimed == Some(id) {
                    self.claimed = None;
                }
                self.answered = Some(context.request.now);
                let Refusal { status, body } = refusal;
                let answer = encode_refusal(status, body, &date, exchange.is_head);
                // The rest of the request is not needed (RFC 9114 section 4.1).
                let _ = quic.recv_stream(id).stop(error_code(code::H3_NO_ERROR));
                (StreamWriter::new(answer, true), None)
            }
            Err(error) => {
                fail(quic, context.request.now, Some(id), &error);
                self.remove(position);
                return None;
            }
        };
        match (out.write(quic, id), &granted) {
            (WriteStatus::Blocked, _) => self.requests[position].out = Some(out),
            (WriteStatus::Refused(err), Some(session)) => {
                warn!(id = session.id.0, ip = %session.inner, %err, "connect response failed");
                self.session_abandoned = true;
            }
            (WriteStatus::Done, Some(_)) => {}
            (WriteStatus::Done | WriteStatus::Refused(_), None) => {
                self.requests.swap_remove(position);
            }
        }
        Some(RequestResult::Granted(GrantedRequest {
            stream: id,
            stream_frames,
            session: *granted?,
        }))
    }
}

impl<R> Exchange<R> {
    /// Returns when the body or the decision is due.
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Body { deadline, .. } | State::Pending { deadline, .. } => Some(*deadline),
            State::Head | State::Granted | State::Refused => None,
        }
    }

    /// Handles the stream's next bytes. A decision or an error ends reading.
    fn take(
        &mut self,
        data: &[u8],
        fin: bool,
        has_session: bool,
        context: &Context<'_, impl Admission<Reservation = R>>,
    ) -> Option<Result<Decision, Http3Error>> {
        for event in self.parser.handle(data, fin) {
            let ends = match event {
                Err(error) => return Some(Err(error)),
                Ok(RequestEvent::Head(head)) => {
                    self.is_head = head.method == b"HEAD";
                    let (endpoint, reservation) = match check_head(&head, has_session, context) {
                        Ok(accepted) => accepted,
                        Err(refusal) => return Some(Ok(Decision::Refused(refusal))),
                    };
                    self.stream_frames = endpoint.stream_frames();
                    self.state = State::Body {
                        reservation: Some(reservation),
                        body: Vec::new(),
                        deadline: context.request.now + BODY_DEADLINE,
                    };
                    false
                }
                Ok(RequestEvent::Body(part)) => match &mut self.state {
                    State::Body { body, .. } => {
                        let room = MAX_BODY - body.len();
                        body.extend_from_slice(&part[..part.len().min(room)]);
                        body.len() == MAX_BODY || is_complete(body)
                    }
                    _ => false,
                },
                Ok(RequestEvent::End) => true,
            };
            if ends
                && let State::Body {
                    reservation, body, ..
                } = &mut self.state
            {
                let (reservation, request) = (reservation.take()?, &context.request);
                return Some(Ok(context.admission.body(reservation, Some(body), request)));
            }
        }
        None
    }
}

/// Finds the endpoint of a head, then calls admission.
fn check_head<R>(
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

/// Returns whether more bytes cannot change the meaning of the body.
fn is_complete(body: &[u8]) -> bool {
    !matches!(ConnectRequest::decode(body), Err(DecodeError::Incomplete))
}

#[cfg(test)]
mod tests;
