//! The `POST /connect` exchange: its two JSON bodies and the key schedule.
//!
//! A client sends a [`ConnectRequest`] with a fresh [`Nonce`]; the server answers with a
//! [`ConnectResponse`] that carries a nonce of its own, which the client checks once, as an
//! [`Assignment`]. Both ends then derive the same
//! [`SessionKeys`] from the shared token and the two nonces; the token itself is not part of the
//! bodies (it travels in a header) and nothing here stores it.
//!
//! Invariants:
//! - Decoders read what `encoding/json` of the Go programs reads, with the same result, and never
//!   more than [`MAX_BODY`] bytes. They neither recurse nor panic, whatever a peer sends.
//! - Encoders write the bytes that the Go programs write; fields of our own appear only when set.
//! - Keys and resume tickets do not show in `Debug` output, and keys are wiped when dropped.

mod assignment;
mod capability;
mod decode_error;
mod fields;
mod json;
mod json_text;
mod keys;
mod nonce;
mod request;
mod response;
mod ticket;

pub use assignment::{Assignment, AssignmentError, DnsEntryError};
pub use capability::{Capabilities, Capability};
pub use decode_error::{BadMessage, DecodeError};
pub use keys::{DirectionKeys, EmptyToken, SessionKeys};
pub use nonce::{Nonce, NonceError, decode_nonce_text};
pub use request::ConnectRequest;
pub use response::ConnectResponse;
pub use ticket::Ticket;

/// Bytes of a body that are read at most, in both directions; the first complete JSON value must
/// lie within them.
pub const MAX_BODY: usize = 4096;

/// The protocol version that requests and responses carry, and the only one there is.
pub const VERSION: u8 = 1;

/// The datagram size in bytes that stands for an absent, null, zero or negative `mtu`.
pub const DEFAULT_MTU: i64 = 1350;

/// The smallest datagram size in bytes that is configured or granted: below it a session would
/// spend more on headers than on packets, and every IPv4 host must take as much (RFC 791).
pub const MIN_MTU: u16 = 576;

/// The largest datagram size in bytes that a Go peer survives, and so what a peer of unknown kind
/// is granted or asked for: quic-go fails on a datagram above 1243 bytes until it has discovered
/// the path MTU, and one byte of that is the quarter stream id.
pub const GO_PEER_MTU: u16 = 1242;
