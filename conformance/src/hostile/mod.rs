//! What attackers bring along beside the [`probe`](crate::probe): first packets of connections that
//! nobody means, junk in trains, packets in another's name, floods of handshakes, crowds of
//! connections, and a look at what all that does to its victim.

mod crowd;
mod forged;
mod handshake_flood;
mod initials;
mod junk;
mod observe;

pub use crowd::{crowd, everybody, many_addresses};
pub use forged::forged;
pub use handshake_flood::{Flooded, HandshakeFlood};
pub use initials::Initials;
pub use junk::JunkSender;
pub use observe::{receive_queue_drained, resident_bytes, session_lines};
