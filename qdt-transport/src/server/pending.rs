//! Answers to requests that the policy could not decide at once.
//!
//! Invariants: each [`Reply`] sends its worker exactly one answer; an answer reaches its own
//! request or none, because the connection's number differs from that of a later connection with
//! the same handle.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::StreamId;

use super::admission::{Admission, Grant, Refusal};
use super::app::{ServerApp, Shared, close_abandoned};
use super::mailbox::Command;
use crate::carrier::CarrierRef;
use crate::engine::{Engine, Link};
use crate::udp::DatagramPort;

/// The time limit for a pending decision: a client waits some five seconds for its session, and a
/// refusal tells it more than silence.
pub(super) const DECIDE_WITHIN: Duration = Duration::from_secs(3);
/// The answer to a request without a decision in time.
pub(super) const NO_DECISION: Refusal = Refusal {
    status: 503,
    body: "no decision in time",
};
/// The reason for the end of a session whose request is gone.
const TOO_LATE: &str = "granted too late: its request is gone";

/// Starts a decision, which answers through the reply.
pub(super) type Ask = Box<dyn FnOnce(Reply) + Send>;

/// The request that an answer is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId {
    pub(super) carrier: CarrierRef,
    pub(super) stream: StreamId,
    /// The connection's number among all connections of its worker.
    pub(super) connection: u64,
}

/// The policy's answer to a pending request.
#[derive(Debug)]
pub(super) struct RequestAnswer {
    pub(super) request: RequestId,
    pub(super) outcome: Result<Box<Grant>, Refusal>,
}

/// A pending answer, for any thread. Dropped unanswered, it refuses the request with 503.
pub struct Reply {
    shared: Arc<Shared>,
    worker: usize,
    /// `None` once answered.
    request: Option<RequestId>,
}

impl Reply {
    pub(super) fn new(shared: Arc<Shared>, worker: usize, request: RequestId) -> Self {
        Self {
            shared,
            worker,
            request: Some(request),
        }
    }

    /// Grants the session or refuses it. If the client is gone or was refused because the decision
    /// took too long, the worker calls [`Admission::ended`] for the session, unless it has stopped.
    pub fn answer(mut self, outcome: Result<Grant, Refusal>) {
        self.send(outcome.map(Box::new));
    }

    fn send(&mut self, outcome: Result<Box<Grant>, Refusal>) {
        if let (Some(request), Some(mailbox)) =
            (self.request.take(), self.shared.mailboxes.get(self.worker))
        {
            mailbox.send(Command::Answer(RequestAnswer { request, outcome }));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.send(Err(NO_DECISION));
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("worker", &self.worker)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl<A: Admission> ServerApp<A> {
    /// Answers a pending request. If it is no longer pending, a granted session ends at once.
    pub(super) fn answer(
        &mut self,
        engine: &mut Engine<Self, impl DatagramPort>,
        now: Instant,
        answer: RequestAnswer,
    ) {
        let RequestAnswer { request, outcome } = answer;
        let RequestId {
            carrier, stream, ..
        } = request;
        let waiting = carrier.link(engine).filter(|link| {
            link.app.number == request.connection
                && !link.quic.is_closed()
                && link.app.exchanges.is_pending(stream)
        });
        let Some(link) = waiting else {
            if let Ok(grant) = outcome {
                self.end_replaced(grant.replaces);
                self.admission.ended(grant.id, TOO_LATE, Duration::ZERO);
            }
            return;
        };
        let Link {
            quic, app: client, ..
        } = &mut *link;
        let context = self.context(client, now);
        let result = client.exchanges.answer(quic, stream, outcome, &context);
        if client.exchanges.session_abandoned {
            close_abandoned(now, quic);
        }
        self.install_session(link, result, now);
        carrier.touch(engine);
    }
}
