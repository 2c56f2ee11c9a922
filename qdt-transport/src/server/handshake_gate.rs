//! The gate of a server's QUIC handshakes: an accepted connection, a Retry or no answer, by the
//! [`HandshakeSlots`] in use. A client without an answer retransmits its first packet.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::crypto::HmacKey;
use quinn_proto::{Connection, ConnectionHandle, Incoming, ServerConfig};

use super::handshake_slots::{HandshakeDecision, HandshakeSlots};
use crate::engine::Responder;
use crate::limit_key::LimitKey;
use crate::path::{ConnectionLimits, proven_size, transport_config};
use crate::tls::{ResetKey, ServerTls};

/// The lifetime of a Retry token.
const RETRY_LIFETIME: Duration = Duration::from_secs(15);

pub(super) struct HandshakeGate {
    tls: ServerTls,
    resets: ResetKey,
    limits: ConnectionLimits,
    configs: HashMap<u16, Arc<ServerConfig>>,
    slots: HandshakeSlots,
}

/// An accepted connection.
pub(super) struct AcceptedHandshake {
    pub(super) handle: ConnectionHandle,
    pub(super) quic: Connection,
    /// The key of its handshake slot.
    pub(super) slot_key: LimitKey,
}

impl HandshakeGate {
    pub(super) fn new(tls: ServerTls, limits: ConnectionLimits) -> Self {
        Self {
            resets: tls.secrets().reset_key(),
            tls,
            limits,
            configs: HashMap::new(),
            slots: HandshakeSlots::default(),
        }
    }

    /// Returns the endpoint's key for stateless resets.
    pub(super) fn reset_key(&self) -> Arc<dyn HmacKey> {
        Arc::new(self.resets.clone())
    }

    /// Uses this certificate for new connections, and its key for their stateless resets, so that a
    /// later process with the key can reset them. Retry tokens keep the first key: those issued
    /// with it are valid for seconds.
    pub(super) fn use_tls(&mut self, tls: ServerTls) {
        self.resets.change_to(tls.secrets());
        self.tls = self.tls.with_certificate_of(tls);
        self.configs.clear();
    }

    /// Returns the configuration for packets of `size` bytes.
    pub(super) fn config(&mut self, size: u16) -> Arc<ServerConfig> {
        let (tls, limits) = (&self.tls, self.limits);
        self.configs
            .entry(size)
            .or_insert_with(|| {
                let mut config = ServerConfig::new(tls.quic(), tls.secrets().token_key());
                config
                    .transport_config(transport_config(size, limits, false))
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
        responder: &mut Responder<'_>,
    ) -> Option<AcceptedHandshake> {
        let address = LimitKey::from(incoming.remote_address().ip());
        // A validated address cannot get another Retry; any other can.
        match self
            .slots
            .decide(address, incoming.remote_address_validated())
        {
            HandshakeDecision::Accept => {}
            HandshakeDecision::Retry => {
                if let Ok(transmit) = responder.endpoint.retry(incoming, responder.response) {
                    responder.respond(transmit);
                }
                return None;
            }
            HandshakeDecision::Ignore => {
                responder.endpoint.ignore(incoming);
                return None;
            }
        }
        let config = self.config(proven_size(len));
        match responder
            .endpoint
            .accept(incoming, now, responder.response, Some(config))
        {
            Ok((handle, quic)) => {
                self.slots.acquire(Some(address));
                Some(AcceptedHandshake {
                    handle,
                    quic,
                    slot_key: address,
                })
            }
            Err(error) => {
                if let Some(transmit) = error.response {
                    responder.respond(transmit);
                }
                None
            }
        }
    }

    /// Releases the slot of a connection that got its session or is drained.
    pub(super) fn release_slot(&mut self, slot_key: Option<LimitKey>) {
        self.slots.release(slot_key);
    }

    /// Takes a slot for a connection that lost its session and is not drained yet. The slot does
    /// not count for its address: the client had the token, and many clients behind one address may
    /// lose their sessions at once and come back.
    pub(super) fn retake_slot(&mut self) {
        self.slots.acquire(None);
    }

    /// See [`HandshakeSlots::burst_has_ended`].
    pub(super) fn burst_has_ended(&mut self) -> bool {
        self.slots.burst_has_ended()
    }
}
