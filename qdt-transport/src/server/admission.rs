//! The interface between a packet worker and the server's policy.
//!
//! A worker calls it twice per `POST /connect`: when the request's head is complete, and when its
//! body is. Both calls run on the worker's thread, never per packet, and must not block: a policy
//! that has to wait returns [`Decision::Pending`] and answers later. The first call's reservation
//! goes to the second as [`Admission::Reservation`]; if it is dropped in between, its slot is
//! released.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qdt_proto::datagram::{Aead, SessionId};
use qdt_proto::handshake::{Capabilities, SessionKeys};
use qdt_proto::http3::RequestHead;

use super::pending::Ask;
use crate::counters::SessionCounters;
use crate::rate_limit::{SessionLimits, SessionUsage};

/// The policy that grants sessions. Implementations count their decisions.
pub trait Admission: Send + Sync + 'static {
    /// The policy's state of a request between its head and its body.
    type Reservation: Send + 'static;

    /// Checks the head of a request to `/connect`: readiness, method, token, limits, a slot for the
    /// session, and whether the connection has one already.
    ///
    /// # Errors
    /// The answer to send instead of a session.
    fn head(
        &self,
        head: &RequestHead,
        request: &RequestContext,
        connection_has_session: bool,
    ) -> Result<Self::Reservation, Refusal>;

    /// Checks the body and makes the session. `body` ends with the first JSON value, the end of the
    /// stream or after 4096 bytes. It is `None` after the deadline, when only a refusal is
    /// possible.
    fn body(
        &self,
        reservation: Self::Reservation,
        body: Option<&[u8]>,
        request: &RequestContext,
    ) -> Decision;

    /// Takes note of the end of a session, once per session: its connection is gone, or another
    /// session took over its address. The client was last heard `silent_for` ago.
    fn ended(&self, session: SessionId, reason: &str, silent_for: Duration);
}

/// Source, worker and time of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    /// The source address of the connection's handshake.
    pub peer: SocketAddr,
    /// The worker that calls, and that would own the session.
    pub worker: usize,
    /// The time of the worker's turn.
    pub now: Instant,
}

/// The policy's decision on a request.
pub enum Decision {
    /// A session.
    Granted(Box<Grant>),
    /// No session.
    Refused(Refusal),
    /// An answer through the [`super::Reply`] that the worker passes to this at once. Without one
    /// within three seconds, or before the connection must have a session, the worker refuses with
    /// 503.
    Pending(Ask),
}

impl From<Result<Grant, Refusal>> for Decision {
    fn from(result: Result<Grant, Refusal>) -> Self {
        match result {
            Ok(grant) => Self::Granted(Box::new(grant)),
            Err(refusal) => Self::Refused(refusal),
        }
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(grant) => f.debug_tuple("Granted").field(grant).finish(),
            Self::Refused(refusal) => f.debug_tuple("Refused").field(refusal).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}

/// An answer other than 200: status and text, without the final line feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The body's text.
    pub body: &'static str,
}

/// The owner of a session, in the policy's own numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub u32);

impl Owner {
    /// Any client with the server's shared token.
    pub const SHARED_TOKEN: Self = Self(0);
}

/// A granted session and its terms.
pub struct Grant {
    /// Its owner.
    pub owner: Owner,
    /// Its id, which is in every datagram.
    pub id: SessionId,
    /// Its keys.
    pub keys: SessionKeys,
    /// The cipher of its datagrams.
    pub aead: Aead,
    /// The capabilities that both ends have beyond the Go programs.
    pub caps: Capabilities,
    /// The client's inner address: the only source it may use.
    pub inner: IpAddr,
    /// The number of the grant: if two workers grant the same address concurrently, packets go to
    /// the later grant.
    pub number: u64,
    /// The longest datagram of the session, in bytes.
    pub mtu: u16,
    /// The body of the 200 answer.
    pub response: Vec<u8>,
    /// The previous session of the address, and its worker.
    pub replaces: Option<(usize, SessionId)>,
    /// Packets per second in each direction.
    pub limits: SessionLimits,
    /// The state of the limits from earlier sessions of the same address and lineage.
    pub usage: SessionUsage,
    /// The counters that its worker writes.
    pub counters: Arc<SessionCounters>,
}

impl fmt::Debug for Grant {
    /// Omits the answer, which holds a ticket.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("owner", &self.owner)
            .field("id", &self.id)
            .field("inner", &self.inner)
            .field("mtu", &self.mtu)
            .field("replaces", &self.replaces)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qdt_proto::handshake::Nonce;

    #[test]
    fn debug_output_of_a_granted_session_shows_neither_keys_nor_ticket() {
        let nonce = Nonce::from_bytes([1; 16]);
        let granted = Grant {
            owner: Owner::SHARED_TOKEN,
            id: SessionId(7),
            keys: SessionKeys::derive(b"token", &nonce, &nonce).expect("keys"),
            aead: Aead::Aes256Gcm,
            caps: Capabilities::all(),
            inner: [10, 8, 0, 2].into(),
            number: 1,
            mtu: 1350,
            response: b"ticket".to_vec(),
            replaces: None,
            limits: SessionLimits::OFF,
            usage: SessionUsage::default(),
            counters: Arc::default(),
        };
        let shown = format!("{granted:?}");
        assert!(shown.contains("10.8.0.2"), "{shown}");
        assert!(!shown.contains(&format!("{:?}", b"ticket")), "{shown}");
    }
}
