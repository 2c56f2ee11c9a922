//! The receiving end of one direction of one session.
//!
//! Invariants: the order of the checks is header, session, replay, AEAD; then the counter is
//! marked, and only then is the plaintext used. So a forged datagram uses up no counter, and a
//! genuine datagram is delivered at most once, whatever it carries.

use std::time::Instant;

use thiserror::Error;

use super::cipher::Cipher;
use super::header::{Header, HeaderError, MessageType, SessionId};
use super::reassembly::{FragmentError, Reassembly};
use super::replay::ReplayWindow;
use super::{Aead, HEADER_LEN, OVERHEAD, REPLAY_WINDOW};
use crate::handshake::DirectionKeys;

/// Opens the datagrams of one direction, in whatever order they arrive.
#[derive(Debug)]
pub struct Opener {
    cipher: Cipher,
    session: SessionId,
    replay: ReplayWindow,
    reassembly: Reassembly,
    accept_close: bool,
}

/// The content of an opened datagram. Lengths are those of the plaintext in the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened<'a> {
    /// A whole inner packet of this many bytes, which may be 0: nothing to deliver.
    Packet(usize),
    /// The last missing fragment of this packet. The caller's buffer holds nothing of meaning.
    Reassembled(&'a [u8]),
    /// A fragment; more are missing. The caller's buffer holds nothing of meaning.
    Incomplete,
    /// A ping with this many bytes of payload, to be sent back in a pong where negotiated.
    Ping(usize),
    /// A pong with this many bytes of payload.
    Pong(usize),
    /// The peer ends the session; this many bytes say why.
    Close(usize),
}

/// The reason why a datagram was dropped. A sender without the keys can cause only
/// [`OpenError::Replay`] and the errors of the checks up to the AEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// It is not a datagram of this protocol.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It belongs to another session.
    #[error("the datagram belongs to another session")]
    Session,
    /// Its counter was received before, or is too far below the highest one.
    #[error("the datagram's counter was received before or is too old")]
    Replay,
    /// The buffer is too short for the plaintext; the counter is not used up.
    #[error("the plaintext needs a buffer of {needed} bytes, this one has {available}")]
    OutputTooSmall {
        /// Bytes that the plaintext takes.
        needed: usize,
        /// Bytes that the buffer has.
        available: usize,
    },
    /// Header, ciphertext and tag do not belong together under this key.
    #[error("the datagram's authentication failed")]
    Forged,
    /// It is genuine, but of a type that is not known or was not negotiated.
    #[error("unknown message type {0}")]
    UnknownType(u8),
    /// It is genuine, but the fragment in it is refused.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
}

impl Opener {
    /// Creates an opener that has received nothing. `max_reassembly_bytes` bounds both the longest
    /// packet put together from fragments and all the memory held for them. Close messages count as
    /// of unknown type unless `accept_close`, that is, unless they were negotiated.
    #[must_use]
    pub fn new(
        aead: Aead,
        keys: &DirectionKeys,
        session: SessionId,
        max_reassembly_bytes: usize,
        accept_close: bool,
    ) -> Self {
        Self {
            cipher: Cipher::new(aead, keys),
            session,
            replay: ReplayWindow::new(REPLAY_WINDOW as usize),
            reassembly: Reassembly::new(max_reassembly_bytes),
            accept_close,
        }
    }

    /// Opens one datagram into the beginning of `out`, which must have room for the plaintext
    /// ([`OVERHEAD`] bytes fewer than the datagram). After an error `out` holds nothing of
    /// meaning. Allocates only where a fragment begins a packet.
    ///
    /// # Errors
    /// [`OpenError`]: the datagram is to be dropped and counted. None of them ends the session.
    pub fn open<'a>(
        &'a mut self,
        now: Instant,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Result<Opened<'a>, OpenError> {
        self.reassembly.expire(now);
        let header = Header::parse(datagram)?;
        if header.session != self.session {
            return Err(OpenError::Session);
        }
        if !self.replay.check(header.counter) {
            return Err(OpenError::Replay);
        }
        let length = datagram.len() - OVERHEAD;
        let available = out.len();
        let plaintext = out.get_mut(..length).ok_or(OpenError::OutputTooSmall {
            needed: length,
            available,
        })?;
        let (clear, sealed) = datagram.split_at(HEADER_LEN);
        self.cipher
            .open(header.counter, clear, sealed, plaintext)
            .map_err(|_| OpenError::Forged)?;
        self.replay.mark(header.counter);
        match MessageType::from_wire(header.kind) {
            Some(MessageType::Data) => Ok(Opened::Packet(length)),
            Some(MessageType::Fragment) => Ok(self
                .reassembly
                .add(now, plaintext)?
                .map_or(Opened::Incomplete, Opened::Reassembled)),
            Some(MessageType::Ping) => Ok(Opened::Ping(length)),
            Some(MessageType::Pong) => Ok(Opened::Pong(length)),
            Some(MessageType::Close) if self.accept_close => Ok(Opened::Close(length)),
            Some(MessageType::Close) | None => Err(OpenError::UnknownType(header.kind)),
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due; `None` while nothing is
    /// pending.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.reassembly.next_expiry()
    }

    /// Drops incomplete packets older than [`REASSEMBLY_TIMEOUT`](super::REASSEMBLY_TIMEOUT).
    pub fn handle_timeout(&mut self, now: Instant) {
        self.reassembly.expire(now);
    }

    /// Returns the bytes held at present for fragmented packets.
    #[must_use]
    pub fn reassembly_bytes(&self) -> usize {
        self.reassembly.bytes()
    }

    /// Returns how many packets are incomplete.
    #[must_use]
    pub fn pending_packets(&self) -> usize {
        self.reassembly.pending()
    }
}
