//! Who may begin a QUIC handshake, and with which packet size it is answered.
//!
//! Whether there is room for one more is the business of [`Places`]; here it becomes an accepted
//! connection, a Retry or silence. A client that is met with silence sends its first packet again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::crypto::HmacKey;
use quinn_proto::{Connection, ConnectionHandle, Incoming, ServerConfig};

use super::places::{Places, Room};
use crate::engine::Gate;
use crate::limit_key::LimitKey;
use crate::path::{Limits, answering_size, transport};
use crate::tls::{ResetKey, ServerTls};

/// How long an address token is good for.
const RETRY_LIFETIME: Duration = Duration::from_secs(15);

/// See the module.
pub(super) struct Doorkeeper {
    tls: ServerTls,
    resets: ResetKey,
    limits: Limits,
    configs: HashMap<u16, Arc<ServerConfig>>,
    places: Places,
}

/// A connection that was let in.
pub(super) struct LetIn {
    pub(super) handle: ConnectionHandle,
    pub(super) quic: Connection,
    /// Who answers for its place until it has a session.
    pub(super) place_of: LimitKey,
}

impl Doorkeeper {
    pub(super) fn new(tls: ServerTls, limits: Limits) -> Self {
        Self {
            resets: tls.secrets().reset_key(),
            tls,
            limits,
            configs: HashMap::new(),
            places: Places::default(),
        }
    }

    /// What the endpoint signs stateless resets with.
    pub(super) fn reset_key(&self) -> Arc<dyn HmacKey> {
        Arc::new(self.resets.clone())
    }

    /// New connections use this certificate, and get resets that a later process with the same key
    /// can send. The key of Retry tokens stays the first one: those that are out in the world were
    /// made with it, and they live for seconds.
    pub(super) fn use_tls(&mut self, tls: ServerTls) {
        self.resets.change_to(tls.secrets());
        self.tls = self.tls.with_certificate_of(tls);
        self.configs.clear();
    }

    /// The configuration for packets of `size` bytes; also what an endpoint is made with.
    pub(super) fn config(&mut self, size: u16) -> Arc<ServerConfig> {
        let (tls, limits) = (&self.tls, self.limits);
        self.configs
            .entry(size)
            .or_insert_with(|| {
                let mut config = ServerConfig::new(tls.quic(), tls.secrets().token_key());
                config
                    .transport_config(transport(size, limits, false))
                    .retry_token_lifetime(RETRY_LIFETIME)
                    .migration(true);
                Arc::new(config)
            })
            .clone()
    }

    /// Answers a first packet of `len` bytes.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        incoming: Incoming,
        len: usize,
        gate: &mut Gate<'_>,
    ) -> Option<LetIn> {
        let address = LimitKey::from(incoming.remote_address().ip());
        // Who has proven its address cannot be asked again, and who has not can.
        match self
            .places
            .room_for(address, incoming.remote_address_validated())
        {
            Room::Free => {}
            Room::AfterProof => {
                if let Ok(transmit) = gate.endpoint.retry(incoming, gate.response) {
                    gate.respond(transmit);
                }
                return None;
            }
            Room::Full => {
                gate.endpoint.ignore(incoming);
                return None;
            }
        }
        let config = self.config(answering_size(len));
        match gate
            .endpoint
            .accept(incoming, now, gate.response, Some(config))
        {
            Ok((handle, quic)) => {
                self.places.take(Some(address));
                Some(LetIn {
                    handle,
                    quic,
                    place_of: address,
                })
            }
            Err(error) => {
                if let Some(transmit) = error.response {
                    gate.respond(transmit);
                }
                None
            }
        }
    }

    /// A connection got its session, or is forgotten; `place_of` answered for its place.
    pub(super) fn finished(&mut self, place_of: Option<LimitKey>) {
        self.places.give_back(place_of);
    }

    /// A connection lost its session and is not forgotten yet. Its client had the token, so its
    /// address does not answer for the place: many clients behind one address may lose their
    /// sessions at once and come back.
    pub(super) fn unfinished_again(&mut self) {
        self.places.take(None);
    }

    /// See [`Places::crowd_has_left`].
    pub(super) fn crowd_has_left(&mut self) -> bool {
        self.places.crowd_has_left()
    }
}
