//! Attack tools alongside the [`probe`](crate::probe): Initial packets of connections that never
//! complete, batches of junk, forged packets, handshake floods, connection bursts, and observers
//! of the attacked machine.

mod connections;
mod forged;
mod handshake_flood;
mod initials;
mod junk;
mod observe;

pub use connections::{connection_burst, in_parallel, many_addresses};
pub use forged::forged;
pub use handshake_flood::{FloodResult, HandshakeFlood};
pub use initials::Initials;
pub use junk::JunkSender;
pub use observe::{receive_queue_drained, resident_bytes, session_lines};
