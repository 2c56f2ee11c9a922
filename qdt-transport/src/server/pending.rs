//! Answers to requests that the policy could not judge at once.
//!
//! Invariants: each [`Reply`] gives its worker one verdict, however it goes; a verdict reaches the
//! request that it is about, or none: a connection's place may have been taken by another one
//! since, which its number tells apart.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::StreamId;

use super::admission::{Admission, Grant, Refusal};
use super::app::{ServerApp, Shared, close_given_up};
use super::mailbox::Command;
use crate::carrier::CarrierRef;
use crate::engine::{Engine, Link};
use crate::udp::DatagramPort;

/// How long a policy may take for a verdict that it did not have at once: a client waits some five
/// seconds for its session, and learns more from a refusal than from silence.
pub(super) const DECIDE_WITHIN: Duration = Duration::from_secs(3);
/// The answer to a request whose verdict did not come.
pub(super) const NO_DECISION: Refusal = Refusal {
    status: 503,
    body: "no decision in time",
};
/// Why a session ends whose client nobody answers any more.
const TOO_LATE: &str = "granted too late: its request is gone";

/// What asks for a verdict; it gets the reply that is owed.
pub(super) type Ask = Box<dyn FnOnce(Reply) + Send>;

/// Which request a verdict is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId {
    pub(super) carrier: CarrierRef,
    pub(super) stream: StreamId,
    /// The number of the connection among all that its worker had.
    pub(super) connection: u64,
}

/// What the policy decided about a request.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) request: RequestId,
    pub(super) outcome: Result<Box<Grant>, Refusal>,
}

/// The answer that a policy owes to a request, from whichever thread. Dropped without one, it
/// refuses the request with 503.
pub struct Reply {
    shared: Arc<Shared>,
    worker: usize,
    /// `None` once it was answered.
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

    /// Grants the session or refuses it. Where the client has gone meanwhile or was refused because
    /// the verdict took too long, the worker calls [`Admission::ended`] for the session; a
    /// worker that has stopped does not.
    pub fn answer(mut self, outcome: Result<Grant, Refusal>) {
        self.send(outcome.map(Box::new));
    }

    fn send(&mut self, outcome: Result<Box<Grant>, Refusal>) {
        if let (Some(request), Some(mailbox)) =
            (self.request.take(), self.shared.mailboxes.get(self.worker))
        {
            mailbox.send(Command::Answer(Verdict { request, outcome }));
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
    /// Answers a request that waited for its verdict. Where it waits no more, a session that was
    /// granted ends before it began.
    pub(super) fn answer(
        &mut self,
        engine: &mut Engine<Self, impl DatagramPort>,
        now: Instant,
        verdict: Verdict,
    ) {
        let Verdict { request, outcome } = verdict;
        let RequestId {
            carrier, stream, ..
        } = request;
        let waiting = carrier.link(engine).filter(|link| {
            link.app.number == request.connection
                && !link.quic.is_closed()
                && link.app.exchanges.waits_for_verdict(stream)
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
        let settled = client.exchanges.answer(quic, stream, outcome, &context);
        if client.exchanges.session_given_up {
            close_given_up(now, quic);
        }
        self.settle(link, settled, now);
        carrier.touch(engine);
    }
}
