//! QDT datagrams: sealed inner packets in QUIC DATAGRAM frames (RFC 9221).
//!
//! A datagram is a clear header of 22 bytes, which is authenticated, then ciphertext, then a tag
//! of 16 bytes. Each direction of a session has one [`Sealer`] at the sending end and one
//! [`Opener`] at the receiving end; which connection carries a datagram does not matter to
//! either.
//!
//! The order of calls at the sending end: [`Sealer::seal`] for a packet that fits, or
//! [`Sealer::fragments`] where it might not. At the receiving end: [`Opener::open`] for every
//! datagram, and [`Opener::handle_timeout`] when [`Opener::poll_timeout`] says so.
//!
//! Invariants:
//! - A counter, and with it an AEAD nonce, is used once; a sealer stops before it would wrap.
//! - Each counter is delivered at most once, and a forged datagram never uses one up.
//! - Reassembled packets are exact or not delivered, and memory for them stays within the cap.
//! - Sealing and opening whole packets allocates nothing.

mod cipher;
mod fragments;
mod header;
mod opener;
mod reassembly;
mod replay;
mod sealer;

pub use cipher::Aead;
pub use fragments::Fragments;
pub use header::{Header, HeaderError, MessageType, SessionId};
pub use opener::{OpenError, Opened, Opener};
pub use reassembly::{FragmentError, MAX_PENDING, REASSEMBLY_TIMEOUT};
pub use replay::ReplayWindow;
pub use sealer::{SealError, Sealer};

/// Length of the header in bytes: magic 3, version 1, type 1, flags 1, session 8, counter 8.
pub const HEADER_LEN: usize = 22;
/// Length of the AEAD tag in bytes, the same for both AEADs.
pub const TAG_LEN: usize = 16;
/// Bytes by which a datagram is longer than its plaintext.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
/// Length of the header that stands before a fragment's data, inside the plaintext: id, offset
/// and total, four bytes each.
pub const FRAGMENT_HEADER_LEN: usize = 12;
/// Counters that a receiver looks back: one that is this much or more below the highest seen is
/// refused.
pub const REPLAY_WINDOW: u64 = 2048;
/// Length in bytes of the longest inner packet, that of an IPv4 packet (RFC 791).
pub const MAX_PACKET: usize = 65_535;
