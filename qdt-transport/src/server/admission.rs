//! The seam between the packet worker and the server's policy.
//!
//! A worker asks twice for every `POST /connect`: once when the request's head is complete, once
//! when its body is. Both calls happen on the worker's thread, never for a packet, and must not
//! block: a policy that has to ask somebody else says so ([`Decision::Pending`]) and answers later.
//! What the policy reserved at the first call travels to the second as its
//! [`Admission::Reservation`]; one that is dropped on the way gives its slot back.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qdt_proto::datagram::{Aead, SessionId};
use qdt_proto::handshake::{Capabilities, SessionKeys};
use qdt_proto::http3::RequestHead;

use super::pending::Ask;
use crate::counters::SessionCounters;
use crate::limits::{SessionLimits, SessionUsage};

/// Decides who gets a session. Implementations count what they decide.
pub trait Admission: Send + Sync + 'static {
    /// What the policy keeps for a request between its head and its body.
    type Reservation: Send + 'static;

    /// Judges everything that the head of a request to `/connect` shows: readiness, method, token,
    /// limits, room for a session, and whether the connection has one already.
    ///
    /// # Errors
    /// The answer to give instead of a session.
    fn head(
        &self,
        head: &RequestHead,
        request: &RequestContext,
        connection_has_session: bool,
    ) -> Result<Self::Reservation, Refusal>;

    /// Judges the body and makes the session. `body` is what arrived up to the end of the first
    /// JSON value, the end of the stream or 4096 bytes; `None` where the deadline came first, after
    /// which there is nothing but a refusal.
    fn body(
        &self,
        reservation: Self::Reservation,
        body: Option<&[u8]>,
        request: &RequestContext,
    ) -> Decision;

    /// The session's connection is gone, or another one took its address over. Called once per
    /// session. Nothing was heard of the client for `silent_for`: a peer that died did so that long
    /// ago.
    fn ended(&self, session: SessionId, reason: &str, silent_for: Duration);
}

/// Where and when a request is judged.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    /// Where the connection's handshake came from.
    pub peer: SocketAddr,
    /// The index of the worker that asks, and that a session would belong to.
    pub worker: usize,
    /// The time of the worker's turn.
    pub now: Instant,
}

/// What the policy says to a request.
pub enum Decision {
    /// It gets a session.
    Granted(Box<Grant>),
    /// It gets none.
    Refused(Refusal),
    /// The answer comes through the [`super::Reply`] that the worker hands to this at once. Where
    /// none comes within three seconds, or before the connection has to have a session, the request
    /// is refused with 503.
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

/// An answer other than 200: its status and its text without the line end that is sent with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The body's text.
    pub body: &'static str,
}

/// Whose session it is, in the policy's own numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub u32);

impl Owner {
    /// Whoever knows the token that all clients of a server share.
    pub const SHARED_TOKEN: Self = Self(0);
}

/// A session that was granted, and on what terms.
pub struct Grant {
    /// Whose it is.
    pub owner: Owner,
    /// Its id, which stands in every datagram.
    pub id: SessionId,
    /// Its keys.
    pub keys: SessionKeys,
    /// The cipher of its datagrams.
    pub aead: Aead,
    /// What both ends can do beyond the Go programs.
    pub caps: Capabilities,
    /// The client's inner address: the only source it may use.
    pub inner: IpAddr,
    /// Rises with every grant of an address: where two sessions were granted the same one at the
    /// same moment, by two workers, packets go to the later grant.
    pub number: u64,
    /// No datagram of the session is longer.
    pub mtu: u16,
    /// The body of the 200 answer.
    pub response: Vec<u8>,
    /// The session that held the address until now, and its worker.
    pub replaces: Option<(usize, SessionId)>,
    /// Packets per second in each direction.
    pub limits: SessionLimits,
    /// What was used of them under the same address and lineage already.
    pub usage: SessionUsage,
    /// Where its worker counts what it carries.
    pub counters: Arc<SessionCounters>,
}

impl fmt::Debug for Grant {
    /// Without the answer: it holds a ticket.
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
