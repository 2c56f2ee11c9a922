//! A minimal policy: every client gets a session and a ticket that names its inner address, at once
//! or on the test's command.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use qdt_proto::datagram::SessionId;
use qdt_proto::handshake::ConnectRequest;
use qdt_proto::http3::RequestHead;

use super::fixtures::{BAD_REQUEST, TOKEN, grant};
use crate::{Admission, Decision, Grant, Refusal, Reply, RequestContext};

pub(super) struct Policy {
    /// The address of the next client without a ticket.
    next: AtomicU32,
    granted: AtomicU32,
    /// Whether requests wait for the test.
    later: AtomicBool,
    /// The pending requests, with the session that each would get.
    pending: Arc<Mutex<Vec<(Reply, Grant)>>>,
    /// The sessions that ended.
    ended: Mutex<Vec<SessionId>>,
}

impl Policy {
    pub(super) fn new(first: Ipv4Addr) -> Self {
        Self {
            next: AtomicU32::new(first.to_bits()),
            granted: AtomicU32::new(0),
            later: AtomicBool::new(false),
            pending: Arc::default(),
            ended: Mutex::default(),
        }
    }

    /// Keeps requests pending from now on.
    pub(super) fn decide_later(&self) {
        self.later.store(true, Ordering::Relaxed);
    }

    /// Returns the oldest pending request, and the session that it would get.
    pub(super) fn take_pending(&self) -> (Reply, Grant) {
        self.pending.lock().expect("no holder panics").remove(0)
    }

    /// Returns the number of pending requests.
    pub(super) fn pending(&self) -> usize {
        self.pending.lock().expect("no holder panics").len()
    }

    /// Returns the sessions that ended.
    pub(super) fn ended(&self) -> Vec<SessionId> {
        self.ended.lock().expect("no holder panics").clone()
    }

    /// Returns how many sessions were granted.
    pub(super) fn granted(&self) -> u32 {
        self.granted.load(Ordering::Relaxed)
    }
}

impl Admission for Policy {
    type Reservation = ();

    fn head(&self, head: &RequestHead, _: &RequestContext, _: bool) -> Result<(), Refusal> {
        assert_eq!(head.header(b"x-qdt-token"), Some(TOKEN));
        Ok(())
    }

    fn body(&self, (): (), body: Option<&[u8]>, _: &RequestContext) -> Decision {
        let decision = self.decide(body);
        match decision {
            Ok(grant) if self.later.load(Ordering::Relaxed) => {
                let pending = self.pending.clone();
                Decision::Pending(Box::new(move |reply| {
                    pending
                        .lock()
                        .expect("no holder panics")
                        .push((reply, grant));
                }))
            }
            decision => decision.into(),
        }
    }

    fn ended(&self, session: SessionId, _: &str, _: Duration) {
        self.ended.lock().expect("no holder panics").push(session);
    }
}

impl Policy {
    fn decide(&self, body: Option<&[u8]>) -> Result<Grant, Refusal> {
        let body = body.ok_or(BAD_REQUEST)?;
        let request = ConnectRequest::decode(body).expect("a request of this crate's client");
        let number = self.granted.fetch_add(1, Ordering::Relaxed) + 1;
        let inner = match &request.resume {
            Some(ticket) => ticket.parse().expect("a ticket of this policy"),
            None => Ipv4Addr::from_bits(self.next.fetch_add(1, Ordering::Relaxed)),
        };
        let id = SessionId(number.into());
        grant(&request, id, inner, Some(inner.to_string()))
    }
}
