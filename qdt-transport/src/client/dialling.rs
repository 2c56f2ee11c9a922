//! The QUIC settings of every client, for the worker and for programs that simulate many clients.

use std::sync::Arc;

use quinn_proto::{ClientConfig, NoneTokenStore};

use crate::path::{ConnectionLimits, IDLE_TIMEOUT, transport_config};
use crate::tls::ClientTls;

/// The bounds of a client's connection.
const LIMITS: ConnectionLimits = ConnectionLimits {
    idle: IDLE_TIMEOUT,
    send: 4 << 20,
    receive: 4 << 20,
};

/// Returns the configuration of a connection with QUIC packets of `packet` bytes
/// ([`crate::PacketSize::bytes`]), as [`crate::ClientWorker`] dials it. Usable for any number of
/// connections.
#[must_use]
pub fn dialling_config(tls: &ClientTls, packet: u16) -> ClientConfig {
    let mut config = ClientConfig::new(tls.quic());
    config.transport_config(transport_config(packet, LIMITS, true));
    // Sessions resume by their own ticket, so address tokens are not stored.
    config.token_store(Arc::new(NoneTokenStore));
    config
}
