//! The checks of a handshake in their order, from readiness to key derivation.
//!
//! It is the Go server's order with two additions: a limit on wrong tokens before the token check
//! (the Go server allows unlimited guesses), and one session per connection (there, 32). A request
//! with several faults shows the order, so it is part of the compatibility.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use qdt_program::Token;
use qdt_proto::datagram::{Aead, SessionId};
use qdt_proto::handshake::{
    Capabilities, Capability, ConnectRequest, ConnectResponse, GO_PEER_MTU, MIN_MTU, Nonce,
    SessionKeys, decode_nonce_text,
};
use qdt_proto::http3::RequestHead;
use qdt_transport::{Grant, Owner, SessionCounters};

use super::outcome::Outcome;
use super::slots::Slot;
use super::token;
use super::{AdmissionController, SessionEntry};
use crate::address::Claim;

/// What a request holds between its head and its body.
#[derive(Debug)]
pub struct Reservation {
    slot: Slot,
    /// The token that the head was checked against: both ends derive keys from it, even after a
    /// reload.
    token: Arc<Token>,
}

impl AdmissionController {
    /// Runs the checks that need only the head of a request.
    pub(super) fn check_head(
        &self,
        head: &RequestHead,
        peer: IpAddr,
        connection_has_session: bool,
        now: Instant,
    ) -> Result<Reservation, Outcome> {
        if !self.is_ready() {
            return Err(Outcome::NotReady);
        }
        if head.method != b"POST" {
            return Err(Outcome::Method);
        }
        if !self.guesses.take(peer, now) {
            return Err(Outcome::RateLimited);
        }
        let token = self.token.load_full();
        if !token::matches(&token, head.header(b"x-qdt-token").unwrap_or_default()) {
            return Err(Outcome::Unauthorized);
        }
        self.guesses.refund(peer);
        if !self.within_rate(peer, now) {
            return Err(Outcome::RateLimited);
        }
        if connection_has_session {
            return Err(Outcome::Busy);
        }
        // A full server refuses only after the body, whose ticket may move an existing session.
        Ok(Reservation {
            slot: self.slots.take(),
            token,
        })
    }

    /// Runs the checks that need the body and grants a session. `body` is `None` if no complete
    /// JSON value arrived in time.
    pub(super) fn check_body(
        &self,
        Reservation { slot, token }: Reservation,
        body: Option<&[u8]>,
        worker: usize,
    ) -> Result<Grant, Outcome> {
        let request = body.and_then(|body| ConnectRequest::decode(body).ok());
        let claim = request.as_ref().and_then(|request| self.claim(request));
        if slot.is_full() && !claim.is_some_and(|claim| self.leases().replaces_live(claim)) {
            return Err(Outcome::Busy);
        }
        let request = request.ok_or(Outcome::BadRequest)?;
        let client_nonce =
            decode_nonce_text(&request.client_nonce).map_err(|_| Outcome::BadNonce)?;
        let server_nonce = Nonce::from_bytes(random().ok_or(Outcome::NonceError)?);
        let id = self.new_session_id().ok_or(Outcome::SessionIdError)?;
        let lineage = u64::from_be_bytes(random().ok_or(Outcome::SessionIdError)?);

        let keys = <[u8; Nonce::LEN]>::try_from(client_nonce)
            .map_err(|_| Outcome::KeyDerivationError)
            .map(Nonce::from_bytes)
            .and_then(|client_nonce| {
                SessionKeys::derive(token.as_bytes(), &client_nonce, &server_nonce)
                    .map_err(|_| Outcome::KeyDerivationError)
            });

        // One lock from the last check to the grant: a refused request takes no address, least of
        // all one from a live session.
        let mut leases = self.leases();
        // The session to replace may have ended meanwhile and another taken its slot.
        if slot.is_full() && !claim.is_some_and(|claim| leases.replaces_live(claim)) {
            return Err(Outcome::Busy);
        }
        if !leases.can_grant(claim) {
            return Err(Outcome::PoolExhausted);
        }
        let keys = keys?;
        let grant = leases
            .grant(id.0, claim, lineage)
            .map_err(|_exhausted| Outcome::PoolExhausted)?;
        let usage = leases.usage(grant.index);
        let slot = slot.into_guard();
        let owner = Owner::SHARED_TOKEN;
        let counters = Arc::<SessionCounters>::default();
        self.sessions.insert(
            id,
            SessionEntry {
                owner,
                index: grant.index,
                worker,
                counters: counters.clone(),
                _slot: slot,
            },
        );
        drop(leases);

        let address = self.pool.address(grant.index);
        let caps = Capabilities::negotiate(&request.caps);
        let mtu = agreed_mtu(self.settings.mtu, &request, caps);
        let resume = if caps.is_empty() {
            None
        } else {
            let now = (self.wall_clock)();
            self.tickets.load().seal(address, grant.lineage, now)
        };
        let response = ConnectResponse {
            version: qdt_proto::handshake::VERSION,
            session_id: id,
            server_nonce: server_nonce.to_text(),
            mtu: i64::from(mtu),
            client_ip: address.to_string(),
            gateway_ip: self.settings.gateway.to_string(),
            cidr: self.settings.cidr.clone(),
            dns: self.settings.dns.clone(),
            caps: (!caps.is_empty()).then(|| caps.to_texts()),
            resume,
        };
        Ok(Grant {
            owner,
            id,
            keys,
            aead: if caps.contains(Capability::Aes256Gcm) {
                Aead::Aes256Gcm
            } else {
                Aead::ChaCha20Poly1305
            },
            caps,
            inner: address,
            number: grant.number,
            mtu,
            response: response.encode(),
            replaces: grant.replaces.map(SessionId).and_then(|old| {
                let worker = self.sessions.read(old, |entry| entry.worker)?;
                Some((worker, old))
            }),
            limits: self.settings.session_limits,
            usage,
            counters,
        })
    }

    /// Takes a permission of both handshake limits; a peer over its own does not use up the total.
    fn within_rate(&self, peer: IpAddr, now: Instant) -> bool {
        let common = self.handshakes.as_ref();
        if common.is_some_and(|limiter| !limiter.take(&(), now)) {
            return false;
        }
        let own = self.handshakes_per_address.as_ref();
        if own.is_some_and(|limiter| !limiter.take(&peer.into(), now)) {
            if let Some(limiter) = common {
                limiter.refund(&());
            }
            return false;
        }
        true
    }

    /// Returns what the request's ticket claims; `None` for an invalid ticket and for an address
    /// of another pool.
    fn claim(&self, request: &ConnectRequest) -> Option<Claim> {
        let text = request.resume.as_deref()?;
        match self.tickets.load().open(text, (self.wall_clock)()) {
            Ok(ticket) => self.pool.index(ticket.address).map(|index| Claim {
                index,
                lineage: ticket.lineage,
            }),
            Err(error) => {
                tracing::debug!(err = %error, "resume ticket not honoured");
                None
            }
        }
    }

    fn new_session_id(&self) -> Option<SessionId> {
        loop {
            let id = SessionId(u64::from_be_bytes(random()?));
            if id.0 != 0 && !self.sessions.contains(id) {
                return Some(id);
            }
        }
    }
}

/// Returns the size of the largest QDT datagram of a session, in bytes.
///
/// A peer with one of our extensions asks by `max_mtu`; any other may be a Go program, which must
/// not receive more than [`GO_PEER_MTU`]. The size is at least [`MIN_MTU`]: a tiny one would turn a
/// packet into hundreds of datagrams.
fn agreed_mtu(configured: u16, request: &ConnectRequest, caps: Capabilities) -> u16 {
    let asked = u16::try_from(request.mtu).unwrap_or(u16::MAX);
    let asked = if caps.is_empty() {
        asked.min(GO_PEER_MTU)
    } else {
        request.max_mtu.unwrap_or(asked)
    };
    configured.min(asked).max(MIN_MTU)
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok().map(|()| bytes)
}
