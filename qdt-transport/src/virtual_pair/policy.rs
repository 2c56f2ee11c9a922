//! The smallest policy: everybody gets a session, and a ticket that names its inner address; at
//! once, or when the test says so.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use qdt_proto::datagram::SessionId;
use qdt_proto::handshake::ConnectRequest;
use qdt_proto::http3::RequestHead;

use super::fixtures::{BAD_REQUEST, TOKEN, grant};
use crate::{Admission, Decision, Grant, Refusal, Reply, RequestContext};

/// See the module.
pub(super) struct Policy {
    /// The address of the next client without a ticket.
    next: AtomicU32,
    granted: AtomicU32,
    /// Requests wait for the test's verdict.
    later: AtomicBool,
    /// What waits, with the session that each would get.
    asked: Arc<Mutex<Vec<(Reply, Grant)>>>,
    /// The sessions that ended.
    ended: Mutex<Vec<SessionId>>,
}

impl Policy {
    pub(super) fn new(first: Ipv4Addr) -> Self {
        Self {
            next: AtomicU32::new(first.to_bits()),
            granted: AtomicU32::new(0),
            later: AtomicBool::new(false),
            asked: Arc::default(),
            ended: Mutex::default(),
        }
    }

    /// Lets requests wait for the test from now on.
    pub(super) fn decide_later(&self) {
        self.later.store(true, Ordering::Relaxed);
    }

    /// Returns the request that has waited longest, and the session that it would get.
    pub(super) fn take_asked(&self) -> (Reply, Grant) {
        self.asked.lock().expect("no holder panics").remove(0)
    }

    /// Returns how many requests wait.
    pub(super) fn asked(&self) -> usize {
        self.asked.lock().expect("no holder panics").len()
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
        let judged = self.judge(body);
        match judged {
            Ok(grant) if self.later.load(Ordering::Relaxed) => {
                let asked = self.asked.clone();
                Decision::Pending(Box::new(move |reply| {
                    asked.lock().expect("no holder panics").push((reply, grant));
                }))
            }
            judged => judged.into(),
        }
    }

    fn ended(&self, session: SessionId, _: &str, _: Duration) {
        self.ended.lock().expect("no holder panics").push(session);
    }
}

impl Policy {
    fn judge(&self, body: Option<&[u8]>) -> Result<Grant, Refusal> {
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
