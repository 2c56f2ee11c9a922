//! The QUIC settings that every client dials with: one place for the worker and for programs that
//! stand in for many clients.

use std::sync::Arc;

use quinn_proto::{ClientConfig, NoneTokenStore};

use crate::path::{IDLE, Limits, transport};
use crate::tls::ClientTls;

/// What may wait in the connection while the socket is full, and how long it may be silent.
const LIMITS: Limits = Limits {
    idle: IDLE,
    send: 4 << 20,
    receive: 4 << 20,
};

/// The configuration of a connection whose QUIC packets are `packet` bytes long
/// ([`crate::PacketSize::bytes`]): what [`crate::ClientWorker`] dials with. It may be used for any
/// number of connections.
#[must_use]
pub fn dialling_config(tls: &ClientTls, packet: u16) -> ClientConfig {
    let mut config = ClientConfig::new(tls.quic());
    config.transport_config(transport(packet, LIMITS, true));
    // A session is asked for with its own ticket; an address token would be kept for nothing.
    config.token_store(Arc::new(NoneTokenStore));
    config
}
