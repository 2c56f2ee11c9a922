//! Who may begin a QUIC handshake, and with which packet size it is answered.
//!
//! Until a connection has a session it costs memory that nobody has paid for. So their number is bounded:
//! from some on a client has to prove its address first (Retry, RFC 9000 section 8.1.2), which a spoofed
//! sender cannot; beyond the bound new ones are ignored, and their clients try again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::{Connection, ConnectionHandle, Incoming, ServerConfig};

use crate::engine::Gate;
use crate::path::{Limits, answering_size, transport};
use crate::tls::ServerTls;

/// Unfinished connections of one worker from which on an address must be proven.
const RETRY_FROM: usize = 256;
/// The most unfinished connections of one worker.
const UNFINISHED_MAX: usize = 4096;
/// So many connections without a session are a crowd: what they leave behind is worth tidying up.
const CROWD: usize = 128;
/// How long an address token is good for.
const RETRY_LIFETIME: Duration = Duration::from_secs(15);

/// See the module.
pub(super) struct Doorkeeper {
    tls: ServerTls,
    limits: Limits,
    configs: HashMap<u16, Arc<ServerConfig>>,
    /// Connections without a session.
    unfinished: usize,
    /// The most of them since a crowd last left.
    most_unfinished: usize,
}

impl Doorkeeper {
    pub(super) fn new(tls: ServerTls, limits: Limits) -> Self {
        Self {
            tls,
            limits,
            configs: HashMap::new(),
            unfinished: 0,
            most_unfinished: 0,
        }
    }

    /// New connections use this certificate. The secrets of the first one stay: resets and tokens that are
    /// out in the world were made with them.
    pub(super) fn use_tls(&mut self, tls: ServerTls) {
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
    ) -> Option<(ConnectionHandle, Connection)> {
        if self.unfinished >= UNFINISHED_MAX {
            gate.endpoint.ignore(incoming);
            return None;
        }
        if self.unfinished >= RETRY_FROM
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            if let Ok(transmit) = gate.endpoint.retry(incoming, gate.response) {
                gate.respond(transmit);
            }
            return None;
        }
        let config = self.config(answering_size(len));
        match gate
            .endpoint
            .accept(incoming, now, gate.response, Some(config))
        {
            Ok(accepted) => {
                self.begun();
                Some(accepted)
            }
            Err(error) => {
                if let Some(transmit) = error.response {
                    gate.respond(transmit);
                }
                None
            }
        }
    }

    /// A connection got its session, or is forgotten.
    pub(super) fn finished(&mut self) {
        self.unfinished -= 1;
    }

    /// A connection lost its session and is not forgotten yet.
    pub(super) fn unfinished_again(&mut self) {
        self.begun();
    }

    /// True once after a crowd of connections without a session, or that lost it, has come and gone.
    pub(super) fn crowd_has_left(&mut self) -> bool {
        let left = self.most_unfinished >= CROWD && self.unfinished <= self.most_unfinished / 8;
        if left {
            self.most_unfinished = self.unfinished;
        }
        left
    }

    fn begun(&mut self) {
        self.unfinished += 1;
        self.most_unfinished = self.most_unfinished.max(self.unfinished);
    }
}
